# SPDX-License-Identifier: Apache-2.0
"""A purge deletes the pictures that no dataset needs, and none that one may need."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fluxgym.names import check_name
from fluxgymd.core.datasets import events as e
from fluxgymd.datasets.datasets import Datasets
from fluxgymd.datasets.importing import Importer
from fluxgymd.datasets.purging import Purger
from fluxgymd.store.caches import shared_caches
from fluxgymd.store.dataset_folders import DatasetFolders
from fluxgymd.store.pictures import PictureStore
from tests.core.datasets.histories import added


class Bench:
    """Datasets whose pictures are in a store."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = PictureStore(home)
        self.folders = DatasetFolders(home)
        self.datasets = Datasets(self.folders, self.disk)
        importer = Importer(self.store.path)
        self.purger = Purger(self.datasets, self.store, importer, disk=self.disk, deleted=lambda _: None)

    async def disk(self, work: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(work)

    async def begin(self, _: str) -> list[e.AnyEvent]:
        return [self.stored("b.png")]

    def stored(self, name: str) -> e.Added:
        """The event of a picture that the store has."""
        event = added(name)
        file = self._file(event)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return event

    async def has(self, name: str, picture: str) -> None:
        """Creates a dataset with one picture."""
        await self.datasets.create(check_name(name))
        event = self.stored(picture)
        await self.datasets.decide(name, lambda _: event, begin=self.begin)

    def kept(self, picture: str) -> bool:
        return self._file(added(picture)).exists()

    def _file(self, event: e.Added) -> Path:
        return self.store.file(event.pictures[0].sha256, ".png")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_purge_deletes_the_pictures_that_no_dataset_has(bench: Bench) -> None:
    async def steps() -> None:
        await bench.has("cats", "a.png")
        await bench.has("dogs", "b.png")
        await bench.has("birds", "c.png")
        await bench.datasets.remove("birds")
        await bench.purger.purge("cats")

    asyncio.run(steps())
    assert [bench.kept(name) for name in ("a.png", "b.png", "c.png")] == [False, True, True]


def test_a_purge_deletes_the_caches_that_no_job_has(bench: Bench) -> None:
    (shared := shared_caches.folder(bench.home) / "ab").mkdir(parents=True)
    (shared / "old.npz").write_bytes(b"x")
    (shared / "used.npz").write_bytes(b"x")
    (bench.home / "of-a-job.npz").hardlink_to(shared / "used.npz")

    async def steps() -> None:
        await bench.has("cats", "a.png")
        await bench.purger.purge("cats")

    asyncio.run(steps())
    assert [path.name for path in shared.iterdir()] == ["used.npz"]


def test_a_purge_deletes_the_dataset_and_not_one_of_that_name_that_was_removed_before(bench: Bench) -> None:
    """Also if the clock was set back in between."""

    async def steps() -> None:
        await bench.has("cats", "a.png")
        bench.folders.remove("cats", now=time.time() + 1e6)
        bench.datasets = Datasets(bench.folders, bench.disk)
        await bench.has("cats", "b.png")
        await bench.purger.purge("cats")
        (removed,) = await bench.datasets.trash()
        assert removed.removed_at > time.time()

    asyncio.run(steps())
    assert (bench.kept("a.png"), bench.kept("b.png")) == (True, False)


def test_a_purge_keeps_the_pictures_of_a_folder_that_is_becoming_a_dataset(bench: Bench) -> None:
    """They are in the store before the journal names them. The caches go all the same."""
    (cache := shared_caches.folder(bench.home) / "old.npz").parent.mkdir(parents=True)
    cache.write_bytes(b"x")
    (bench.home / "datasets/dogs").mkdir(parents=True)
    imported, written = asyncio.Event(), asyncio.Event()

    async def begin(name: str) -> list[e.AnyEvent]:
        history = await bench.begin(name)
        imported.set()
        await asyncio.wait_for(written.wait(), timeout=60)
        return history

    async def steps() -> None:
        await bench.has("cats", "a.png")
        adopting = asyncio.create_task(bench.datasets.decide("dogs", lambda _: None, begin=begin))
        await asyncio.wait_for(imported.wait(), timeout=60)
        adopting.cancel()  # its client is gone, and it goes on all the same
        await bench.purger.purge("cats")
        assert (bench.kept("b.png"), cache.exists()) == (True, False)
        written.set()

    asyncio.run(steps())


def test_a_dataset_that_is_brought_back_during_a_purge_keeps_its_pictures(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not be missed in datasets/ because it is in the trash, and in the trash because it is in datasets/."""
    listed, going = threading.Event(), threading.Event()
    names = bench.folders.names

    def slow_names() -> list[str]:
        found = names()
        listed.set()
        going.wait(60)
        return found

    async def steps() -> None:
        await bench.has("cats", "a.png")
        await bench.has("dogs", "b.png")
        await bench.datasets.remove("dogs")
        monkeypatch.setattr(bench.folders, "names", slow_names)
        purging = asyncio.create_task(bench.purger.purge("cats"))
        await asyncio.to_thread(listed.wait, 60)
        restoring = asyncio.create_task(bench.datasets.restore("dogs"))
        await asyncio.wait([restoring], timeout=0.2)  # it waits for the purge
        going.set()
        await asyncio.gather(purging, restoring)

    asyncio.run(steps())
    assert bench.kept("b.png")


def test_a_purge_deletes_nothing_while_a_dataset_is_on_a_volume_that_is_not_mounted(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def steps() -> None:
        await bench.has("cats", "a.png")
        await bench.has("dogs", "b.png")
        (bench.home / "datasets/dogs").rename(tmp_path / "volume")
        (bench.home / "datasets/dogs").symlink_to(tmp_path / "volume")
        (tmp_path / "volume").rename(tmp_path / "elsewhere")
        await bench.purger.purge("cats")

    asyncio.run(steps())
    assert bench.kept("b.png")
    assert "no pictures are deleted from the store" in caplog.text
