# SPDX-License-Identifier: Apache-2.0
"""Small copies of pictures, in `cache/thumbnails/` of the home. Each is made once, by a process with limits.

A client gets the path of a file and not its bytes: a page of a thousand pictures then costs the daemon a thousand
short messages. There are at most as many files as pictures times SIDES.
"""

import hashlib
import os
import re
from pathlib import Path

from fluxgym.errors import InvalidDataset
from fluxgymd.background import bounded, helpers, lanes
from fluxgymd.background.bounded import Overran
from fluxgymd.background.helpers import ResourceLimits
from fluxgymd.background.turns import Turns
from fluxgymd.core.datasets.changing import no_such_picture
from fluxgymd.datasets.datasets import Datasets
from fluxgymd.datasets.loading import Damaged, Plain, Stored
from fluxgymd.store.pictures import PictureStore

SIDES = (128, 256, 512, 1024)
"""Pixels. A wish is rounded up, so that a client that asks for many sizes does not fill the disk."""
SIDE = 256
MOST = SIDES[-1]
AT_ONCE = 4
SECONDS = 60.0
LIMITS = ResourceLimits(data_bytes=4 << 30, nice=5)
_FILE = re.compile(r"([0-9a-f]{64})-\d+\.jpg")


class Thumbnails:
    def __init__(self, home: Path, datasets: Datasets) -> None:
        self._folder = home / "cache" / "thumbnails"
        self._datasets = datasets
        self._store = PictureStore(home)
        self._turns = Turns(AT_ONCE)

    async def find(self, name: str, picture: str, side: int) -> Path:
        """The file of a thumbnail. `side`: the longer side, at most MOST. NoSuchPicture; InvalidDataset if the
        picture cannot be opened."""
        found = await self._datasets.find(name)
        lane = f"the thumbnails of {name}"  # not the lane of a job that has the same name
        size = next(one for one in SIDES if one >= side)
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
                key = await lanes.answer(lane, _version, source)
        target = self._folder / key[:2] / f"{key}-{size}.jpg"
        if not await lanes.answer(lane, os.path.exists, target):
            async with self._turns.turn():
                await lanes.answer(lane, _make, source, target, size)
        return target

    def forget(self, deleted: list[str]) -> None:
        """Deletes the thumbnails of pictures, by their SHA-256. Blocks."""
        gone = set(deleted)
        for folder, _, names in os.walk(self._folder):
            for file in names:
                found = _FILE.fullmatch(file)
                if found is not None and found[1] in gone:
                    os.unlink(os.path.join(folder, file))


def _version(path: Path) -> str:
    """A name for this version of a user's file, which may change."""
    facts = path.stat()
    return hashlib.sha256(repr((str(path), facts.st_size, facts.st_mtime_ns)).encode()).hexdigest()


def _make(source: Path, target: Path, side: int) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = helpers.command("fluxgymd.pictures.thumbnail", str(source), str(target), str(side))
    try:
        done = bounded.run(words, seconds=SECONDS, most=0, limits=LIMITS, cwd=helpers.DIRECTORY)
    except Overran as error:
        raise InvalidDataset(f"No thumbnail of {source} could be made: {error}.", path=str(source)) from None
    if done.status != 0:
        said = done.errors.decode(errors="replace").strip()
        raise InvalidDataset(said or f"No thumbnail of {source} could be made.", path=str(source))
