# SPDX-License-Identifier: Apache-2.0
"""Adding pictures to a dataset, with the real importer."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from fluxgymd.pictures.lines import Picture, Wishes
from fluxgymd.store.dataset_folders import DatasetFolders
from fluxgymd.store.pictures import PictureStore
from fluxgymd.stored import view
from fluxgymd.stored.adding import Adder, is_known
from fluxgymd.stored.datasets import Datasets
from fluxgymd.stored.importing import Importer
from tests.harness.waiting import DEADLINE_SECONDS
from tests.stored.importing import make_pictures


class Bench:
    def __init__(self, home: Path) -> None:
        self.store = PictureStore(home)
        self.datasets = Datasets(DatasetFolders(home), self._disk)
        self.adder = Adder(self.datasets, Importer(self.store.path))

    async def _disk(self, work: Callable[[], Any]) -> Any:
        return work()

    async def add(self, source: Path) -> tuple[int, int]:
        """How many pictures the dataset got, and how many it had."""
        added = known = 0
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            aclosing(self.adder.add("cats", source, Wishes())) as batches,
        ):
            async for _, batch in batches:
                added += sum(name is not None for line, name in batch if isinstance(line, Picture))
                known += sum(is_known(line, name) for line, name in batch)
        return added, known


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: (path.chmod(0o600), path.write_bytes(b"short"))])
def test_a_picture_that_was_lost_from_the_store_comes_back_when_it_is_added_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    source, bench = make_pictures(tmp_path / "cats", 2), Bench(tmp_path)

    async def steps() -> None:
        await bench.datasets.create("cats")
        assert await bench.add(source) == (2, 0)
        lost = next(bench.store.path.glob("*/*.jpg"))
        data = lost.read_bytes()
        damage(lost)
        assert await bench.add(source) == (0, 2)
        assert lost.read_bytes() == data

    asyncio.run(steps())


def test_the_history_tells_what_the_import_of_a_plain_folder_left_out(tmp_path: Path) -> None:
    """Its first change imports it, and there is no stream of replies to say so."""
    source, bench = make_pictures(tmp_path / "datasets/cats", 2), Bench(tmp_path)
    (source / "broken.png").touch()
    (source / "copy.jpg").write_bytes((source / "IMG_1.jpg").read_bytes())
    stored = asyncio.run(bench.adder.stored("cats"))
    broken = "broken.png is empty; replace it or remove it from the dataset."
    copy = "copy.jpg has the same bytes as IMG_1.jpg."
    told = [change.text for change in view.changes(stored.dataset)]
    assert told == ["The dataset was created.", f"2 pictures were added. {broken} {copy}"]
    assert (source / "broken.png").exists()
