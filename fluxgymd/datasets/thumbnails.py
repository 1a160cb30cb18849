# SPDX-License-Identifier: Apache-2.0
"""The thumbnails of pictures in datasets."""

from pathlib import Path

from fluxgymd.background import lanes
from fluxgymd.core.datasets.changing import no_such_picture
from fluxgymd.datasets.datasets import Datasets
from fluxgymd.datasets.loading import Damaged, Plain, Stored
from fluxgymd.pictures import small_copies
from fluxgymd.pictures.small_copies import SmallCopies
from fluxgymd.store.pictures import PictureStore


class Thumbnails:
    def __init__(self, home: Path, datasets: Datasets, copies: SmallCopies) -> None:
        self._datasets = datasets
        self._store = PictureStore(home)
        self._copies = copies

    async def find(self, name: str, picture: str, side: int) -> Path:
        """The path of a thumbnail. `side`: pixels of the longer side, at most small_copies.MOST. NoSuchPicture;
        InvalidDataset if the picture cannot be opened."""
        found = await self._datasets.find(name)
        lane = f"the thumbnails of {name}"  # not the lane of a job that has the same name
        match found:
            case Damaged():
                raise found.error()
            case Stored(dataset=dataset):
                if picture not in dataset.pictures:
                    raise no_such_picture(name, picture, dataset.pictures)
                stored = dataset.pictures[picture].stored
                source, key = self._store.file(stored.sha256, Path(stored.name).suffix), stored.sha256
            case Plain(folder=folder, captions=captions):
                if picture not in captions:
                    raise no_such_picture(name, picture, captions)
                source = folder / picture
                key = await lanes.answer(lane, small_copies.version, source)
        return await self._copies.of(source, key, side, lane=lane)
