# SPDX-License-Identifier: Apache-2.0
"""The trash when the disk runs low: the oldest removed jobs are deleted first, and no more than needed."""

import asyncio
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.errors import NotEnoughSpace, StorageFailed
from fluxgym.protocol.messages import Context
from fluxgym.protocol.plan_messages import PlannedDisk
from fluxgymd.gpus.machine import Gpus
from fluxgymd.jobs.registry import Registry
from fluxgymd.run.disk_room import DiskRoom
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.resuming import Outlook
from fluxgymd.run.trash import Trash
from fluxgymd.store.home import JobFolder
from fluxgymd.store.room import room
from tests.core import histories as h
from tests.jobs.journals import encoded, load, put
from tests.store.small_disk import PAGE, small_disk
from tests.trainers.adapters import trainers

PAGES = 10_000
EACH = 2000 * PAGE


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Three ended jobs on a small disk, each with a file of 2000 pages."""
    with small_disk(tmp_path, pages=PAGES) as disk:
        for name in ("a", "b", "c"):
            put(disk, name, encoded(name, h.WAYS["completed"])).with_name("state").write_bytes(bytes(EACH))
        registry = load(disk)
        yield registry
        registry.writer.close()


def remove(registry: Registry, *names: str, ago: float = 3600.0) -> None:
    """Removes the jobs, as if that were `ago` seconds ago."""

    async def each() -> None:
        for name in names:
            await registry.remove(registry.entry(name), lambda _: None, keep=True)

    asyncio.run(each())
    for removed in registry.home.trash.entries():
        stamp = round((removed.removed_at - ago) * 1000)
        removed.path.rename(removed.path.with_name(f"{removed.name}@{stamp}@{removed.id}"))


def kept(registry: Registry) -> list[str]:
    return sorted(removed.name for removed in registry.home.trash.entries())


def use_up(registry: Registry, *, left: int) -> Path:
    """Fills the disk except for `left` pages."""
    disk = registry.home.path
    (disk / "hog").write_bytes(bytes(room(disk).free - left * PAGE))
    return disk / "hog"


@pytest.mark.parametrize(("left", "stays"), [(600, ["a", "b", "c"]), (400, ["b", "c"])])
def test_a_disk_that_runs_low_costs_the_oldest_removed_job(
    registry: Registry, left: int, stays: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """5 % of the disk are 500 pages."""
    remove(registry, "a", "b", "c")
    use_up(registry, left=left)
    disk_room = DiskRoom(registry.home.path, Trash(registry, days=7.0))
    with caplog.at_level(logging.WARNING):
        asyncio.run(disk_room.look())
    assert disk_room.problem is None
    assert kept(registry) == stays
    said = re.findall(r"is running low; deleted the removed job (\w), which freed (\S+ MB)", caplog.text)
    assert said == ([] if "a" in stays else [("a", "8 MB")])


@pytest.mark.parametrize(("left", "stays"), [(400, ["a", "b", "c"]), (200, ["b", "c"])])
def test_a_removal_can_be_undone_for_a_while_unless_the_disk_is_full(
    registry: Registry, left: int, stays: list[str]
) -> None:
    """The daemon itself needs 256 pages."""
    remove(registry, "a", "b", "c", ago=60.0)
    use_up(registry, left=left)
    disk_room = DiskRoom(registry.home.path, Trash(registry, days=7.0))
    asyncio.run(disk_room.look())
    assert disk_room.problem is None
    assert kept(registry) == stays


def test_what_a_removed_job_shares_does_not_count_as_freed(registry: Registry) -> None:
    """`a` frees next to nothing, since its file has another name; so `b` goes too."""
    os.link(registry.home.folder("a").path / "state", registry.home.path / "store")
    remove(registry, "a", "b", "c")
    use_up(registry, left=400)
    asyncio.run(DiskRoom(registry.home.path, Trash(registry, days=7.0)).look())
    assert kept(registry) == ["c"]


class Asking(Preflight):
    """A preflight of a job that will save `saves` bytes and begins with a checkpoint of another size."""

    def __init__(self, registry: Registry, saves: int, checkpoint: int | None = None) -> None:
        super().__init__(registry, trainers(), Gpus(), Trash(registry, days=7.0))
        self._home, self._saves, self._checkpoint = registry.home.path, saves, checkpoint

    async def examine(self, *_: object, **__: object) -> Outlook:
        return None  # type: ignore[return-value]

    async def space(self, *_: object, **__: object) -> PlannedDisk:
        free = room(self._home).free
        return PlannedDisk(saves=self._saves, pictures=0, caches=0, free=free, checkpoint=self._checkpoint)

    def ask(self) -> None:
        folder = JobFolder(self._home / "outputs" / "new")
        asyncio.run(self.check(Context(name="new"), folder, pictures=()))


@pytest.mark.parametrize(("pages", "stays"), [(900, ["a", "b", "c"]), (1100, ["b", "c"]), (4500, ["c"]), (6900, [])])
def test_a_job_that_needs_the_space_of_the_trash_gets_it(registry: Registry, pages: int, stays: list[str]) -> None:
    remove(registry, "a", "b", "c")
    use_up(registry, left=1000)
    Asking(registry, pages * PAGE).ask()
    assert kept(registry) == stays


def test_the_trash_is_not_emptied_for_a_job_that_would_not_fit_even_then(registry: Registry) -> None:
    remove(registry, "a", "b", "c")
    use_up(registry, left=1000)
    with pytest.raises(NotEnoughSpace):
        Asking(registry, 8000 * PAGE).ask()
    assert kept(registry) == ["a", "b", "c"]


def test_the_checkpoint_that_a_job_begins_with_has_to_fit_too(registry: Registry) -> None:
    remove(registry, "a", "b", "c")
    use_up(registry, left=1000)
    Asking(registry, 900 * PAGE, 200 * PAGE).ask()
    assert kept(registry) == ["b", "c"]
    with pytest.raises(NotEnoughSpace):
        Asking(registry, 900 * PAGE, 8000 * PAGE).ask()


def test_a_trash_that_cannot_be_read_is_an_error_of_its_disk(registry: Registry) -> None:
    registry.home.trash.path.write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"\.trash cannot be read: Not a directory\.$"):
        asyncio.run(Trash(registry, days=7.0).look(0.0))
