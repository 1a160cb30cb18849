# SPDX-License-Identifier: Apache-2.0
"""The datasets of a home. A change is on the disk before it counts, and clients hear of it only after that.

The disk is the database: a dataset is read when somebody asks for it, and the last few stay in memory. Nobody else
writes to a journal while this daemon owns the home.
"""

import asyncio
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from fluxgym.errors import NameTaken, NoSuchDataset
from fluxgym.names import check_name
from fluxgym.quoting import short
from fluxgymd.background import lanes
from fluxgymd.core.datasets.dataset import Dataset
from fluxgymd.core.datasets.events import AnyEvent, Created
from fluxgymd.core.journal.events import encode
from fluxgymd.datasets.loading import Damaged, Found, Plain, Stored, load
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs.changes import Changes
from fluxgymd.pictures.files import reason
from fluxgymd.store.atomic import write_file
from fluxgymd.store.dataset_folders import DatasetFolders, Removed
from fluxgymd.store.home import JOURNAL

KEPT = 16
"""How many stored datasets stay in memory. One of 1,000 pictures takes about 2 MB."""
LANE = "the datasets"
"""The lane for their folder. No job can have this name."""


class Disk(Protocol):
    """Runs work in a writer thread. StorageFailed if the disk refuses, or another daemon owns the home."""

    def __call__(self, work: Callable[[], Any], /) -> Awaitable[Any]: ...


Begin = Callable[[str], Awaitable[list[AnyEvent]]]
"""Imports a plain folder: the events with which its journal begins."""


class Datasets:
    def __init__(self, folders: DatasetFolders, disk: Disk) -> None:
        self.folders = folders
        self.changes = Changes()
        self._disk = disk
        self._kept: OrderedDict[str, Stored] = OrderedDict()
        self._locks: dict[str, _Lock] = {}
        self._changing = 0

    @property
    def changing(self) -> bool:
        """Whether an event may be on its way to a journal."""
        return self._changing > 0

    async def names(self) -> list[str]:
        return await lanes.answer(LANE, self.folders.names)

    async def find(self, name: str) -> Found:
        """The dataset of this name, whatever its state; NoSuchDataset."""
        kept = self._kept.get(name)
        if kept is not None:
            self._kept.move_to_end(name)
            return kept
        if not _valid(name):
            raise no_such(name)
        if name in self._locks:  # a folder that is becoming a dataset would be waited for until it is imported
            return await self._read(name)
        async with self._lock(name):
            return await self._find(name)

    async def _find(self, name: str) -> Found:
        """Likewise; the caller holds the lock."""
        if name in self._kept:
            return self._kept[name]
        found = await self._read(name)
        if isinstance(found, Stored):
            self._kept[name] = found
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    async def _read(self, name: str) -> Found:
        """The dataset as it is on the disk; NoSuchDataset."""
        folder = self.folders.folder(name)
        try:
            return await lanes.answer(f"{LANE}: {name}", load, folder)
        except (FileNotFoundError, NotADirectoryError):
            raise no_such(name) from None
        except OSError as error:
            return Damaged(folder=folder, problem=f"The folder {folder} cannot be read: {reason(error)}.")

    async def create(self, name: str) -> Found:
        """A new, empty dataset. NameTaken."""
        check_name(name)
        async with self._lock(name):
            await self._rename(lambda: self.folders.create(name, _created()), name)
            found = await self._find(name)
        self.changes.changed(name)
        return found

    async def decide(
        self, name: str, choose: Callable[[Dataset], AnyEvent | None], *, begin: Begin
    ) -> tuple[Stored, bool]:
        """Appends the event that `choose` makes from the dataset as it is now; no other event can come in between.
        Returns the dataset, and whether there was an event. `begin`: for a plain folder, which becomes a stored
        dataset first."""
        check_name(name)
        # A caller that is cancelled halfway must not leave an event on the disk that is missing in memory.
        task = asyncio.create_task(self._decide(name, choose, begin), name=f"decide-{name}")
        self._changing += 1
        task.add_done_callback(self._changed)
        return await asyncio.shield(task)

    def _changed(self, _: object) -> None:
        self._changing -= 1

    async def _decide(
        self, name: str, choose: Callable[[Dataset], AnyEvent | None], begin: Begin
    ) -> tuple[Stored, bool]:
        async with self._lock(name):
            found = await self._find(name)
            if isinstance(found, Plain):
                found = await self._adopt(name, found, begin)
            stored = sound(found)
            event = choose(stored.dataset)
            if event is None:
                return stored, False
            stored.folding.check(event)
            await self._disk(lambda: stored.journal.append(event))
            failpoint("stored.recorded")
            stored.folding.take(event)
            stored.dataset = stored.folding.dataset()
        self.changes.changed(name)
        return stored, True

    async def _adopt(self, name: str, plain: Plain, begin: Begin) -> Found:
        """Turns a plain folder into a stored dataset, as a whole: its journal appears with all of its pictures."""
        history = await begin(name)
        data = b"".join(encode(event) for event in (_created(), *history))
        await self._disk(lambda: write_file(plain.folder / JOURNAL, data))
        failpoint("stored.adopted")
        return await self._find(name)

    async def remove(self, name: str) -> Removed:
        """Moves a dataset to the trash, and returns it."""
        if not _valid(name):
            raise no_such(name)
        async with self._lock(name):
            if not await lanes.answer(LANE, os.path.lexists, self.folders.folder(name)):
                raise no_such(name)
            removed: Removed = await self._disk(lambda: self.folders.remove(name, now=time.time()))
            self._kept.pop(name, None)
        self.changes.removed(name)
        return removed

    async def trash(self) -> list[Removed]:
        return await lanes.answer(LANE, self.folders.trash)

    async def restore(self, name: str) -> Found:
        """Brings back the dataset of this name that was removed last. NameTaken; NoSuchDataset."""
        removed = await self.removed(name)
        async with self._lock(name):
            await self._rename(lambda: self.folders.restore(removed), name)
            found = await self._find(name)
        self.changes.changed(name)
        return found

    async def removed(self, name: str) -> Removed:
        """The dataset of this name in the trash that was removed last; NoSuchDataset."""
        for removed in await self.trash():
            if removed.name == name:
                return removed
        raise NoSuchDataset(f"No removed dataset is named {short(name)}.", name=short(name))

    async def _rename(self, work: Callable[[], object], name: str) -> None:
        def checked() -> bool:
            try:
                work()
            except FileExistsError:
                return False
            return True

        if not await self._disk(checked):
            raise NameTaken(
                f"A dataset named {name} already exists; choose another name, or remove it first.", name=name
            )

    @asynccontextmanager
    async def _lock(self, name: str) -> AsyncGenerator[None, None]:
        """One at a time for each name. The lock goes with the last one that holds it or waits for it: with two locks
        for one name, two changes could be written to the same place of a journal."""
        lock = self._locks.setdefault(name, _Lock())
        lock.users += 1
        try:
            async with lock.lock:
                yield
        finally:
            lock.users -= 1
            if not lock.users:
                del self._locks[name]


@dataclass(slots=True)
class _Lock:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


def sound(found: Found) -> Stored:
    """The stored dataset; DatasetDamaged."""
    if isinstance(found, Damaged):
        raise found.error()
    assert isinstance(found, Stored), f"{found.folder.name} was not imported"
    return found


def no_such(name: str) -> NoSuchDataset:
    return NoSuchDataset(f"There is no dataset {short(name)}.", name=short(name))


def _created() -> Created:
    return Created(at=time.time(), id=secrets.token_hex(16))


def _valid(name: str) -> bool:
    """Whether the name is that of a folder in datasets/."""
    return bool(name) and name[0] != "." and "/" not in name and "\0" not in name and len(name) <= 255
