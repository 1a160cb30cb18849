# SPDX-License-Identifier: Apache-2.0
"""Thumbnails of the pictures of datasets: each is made once, by the real program."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fluxgym.errors import DatasetDamaged, InvalidDataset, NoSuchPicture
from fluxgymd.core.datasets import events as e
from fluxgymd.datasets.datasets import Datasets
from fluxgymd.datasets.thumbnails import Thumbnails
from fluxgymd.pictures import small_copies
from fluxgymd.pictures.small_copies import SmallCopies
from fluxgymd.store.dataset_folders import DatasetFolders
from fluxgymd.store.home import JOURNAL
from fluxgymd.store.pictures import PictureStore
from tests.core.datasets.histories import added


class Bench:
    """The dataset cats, with two pictures, and the plain folder dogs, with one."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.datasets = Datasets(DatasetFolders(home), self._disk)
        self.copies = SmallCopies(home)
        self.thumbnails = Thumbnails(home, self.datasets, self.copies)
        self.theirs = home / "datasets/dogs/d.png"
        pictures = added("a.png", "b.png")
        asyncio.run(self._create(pictures))
        store = PictureStore(home)
        self.stored = {one.name: store.file(one.sha256, ".png") for one in pictures.pictures}
        for path, side in ((self.stored["a.png"], 300), (self.stored["b.png"], 200), (self.theirs, 300)):
            path.parent.mkdir(parents=True)
            Image.new("RGB", (side, 100), "red").save(path)

    async def _disk(self, work: Callable[[], Any]) -> Any:
        return work()

    async def _create(self, event: e.Added) -> None:
        await self.datasets.create("cats")
        await self.datasets.decide("cats", lambda _: event, begin=self._begin)

    async def _begin(self, _: str) -> list[e.AnyEvent]:
        return []

    def find(self, name: str, picture: str, side: int = 100) -> Path:
        return asyncio.run(self.thumbnails.find(name, picture, side))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def width(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.size[0]


def test_a_thumbnail_is_made_once_for_each_of_the_sizes(bench: Bench) -> None:
    small, large = bench.find("cats", "a.png", 128), bench.find("cats", "a.png", 129)
    assert (width(small), width(large)) == (128, 256)
    bench.stored["a.png"].unlink()
    assert bench.find("cats", "a.png", 1) == small


def test_a_picture_of_the_users_that_has_changed_gets_a_new_thumbnail(bench: Bench) -> None:
    before = bench.find("dogs", "d.png")
    assert bench.find("dogs", "d.png") == before
    Image.new("RGB", (50, 50), "blue").save(bench.theirs)
    assert width(bench.find("dogs", "d.png")) == 50


def test_the_thumbnails_of_deleted_pictures_go_and_others_stay(bench: Bench) -> None:
    gone = [bench.find("cats", "a.png", side) for side in (100, 200)]
    kept = [bench.find("cats", "b.png"), bench.find("dogs", "d.png")]
    bench.copies.forget([bench.stored["a.png"].stem])
    assert [path.exists() for path in (*gone, *kept)] == [False, False, True, True]


def test_what_has_no_thumbnail_is_told_in_a_sentence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, picture in (("cats", "d.png"), ("dogs", "a.png")):
        with pytest.raises(NoSuchPicture):
            bench.find(name, picture)
    broken = bench.stored["a.png"]
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(InvalidDataset, match=f"^The picture {broken} "):
        bench.find("cats", "a.png")
    monkeypatch.setattr(small_copies, "SECONDS", 0.0)
    with pytest.raises(InvalidDataset, match=r"^No thumbnail of .* could be made: it took more than 0 s\.$"):
        bench.find("cats", "b.png")
    (bench.theirs.parent / JOURNAL).write_bytes(b"{}\n")
    with pytest.raises(DatasetDamaged):
        bench.find("dogs", "d.png")


def test_the_least_recently_used_are_deleted_when_the_total_is_too_large(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = bench.find("cats", "a.png")
    monkeypatch.setattr(small_copies, "MOST_BYTES", 0)
    monkeypatch.setattr(small_copies, "BETWEEN_LOOKS", 1)
    new = bench.find("cats", "b.png")
    assert (old.exists(), new.exists()) == (False, True)
    assert bench.find("cats", "a.png") == old
    assert old.exists()
