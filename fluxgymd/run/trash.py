# SPDX-License-Identifier: Apache-2.0
"""The trash of removed jobs: deletes them when their time is up, and the oldest ones if the disk runs low."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fluxgym.errors import NoSuchJob, StorageFailed
from fluxgym.quoting import short
from fluxgymd.background import lanes
from fluxgymd.core.disk import trash
from fluxgymd.core.disk.storage import file_size
from fluxgymd.core.disk.trash import Ages
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.store.caches.own_bytes import own_bytes
from fluxgymd.store.job_trash import RemovedFolder
from fluxgymd.store.room import FreeSpace, room

log = logging.getLogger(__name__)

LOOK_SECONDS = 3600.0
LANE = "the trash"
"""Not a possible name of a job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A job in the trash."""

    folder: RemovedFolder
    delete_at: float
    """Wall clock."""
    size: int
    """Bytes that deleting it would free."""


class Trash:
    def __init__(self, registry: Registry, *, days: float) -> None:
        self._registry = registry
        self._trash = registry.home.trash
        self._days = days
        self._lock = asyncio.Lock()
        """Held while a job leaves the trash, whether it is restored or deleted."""
        self._ages: Ages | None = None

    @property
    def keeps(self) -> bool:
        """Whether removed jobs go to the trash at all."""
        return self._days > 0

    async def run(self) -> None:
        """Deletes jobs whose time is up, in an endless loop."""
        self._ages = await lanes.run(LANE, self._trash.ages)
        while True:
            with suppress(StorageFailed):  # the next look tries again
                await self.look(time.time())
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, now: float) -> None:
        """Deletes jobs whose time is up at `now` (wall clock)."""
        async with self._lock:
            entries = await self._entries()
            if not entries:
                return
            self._ages = ages = self._aged(entries, now)
            await self._registry.disk(lambda: self._trash.write_ages(ages))
            over = trash.expired(ages, self._days)
            for removed in entries:
                if removed.path.name in over:
                    log.info("the job %s was removed %g days ago and is deleted", removed.name, self._days)
                    await self._delete(removed)

    async def kept(self) -> list[Kept]:
        """The jobs that can be restored, the most recently removed first."""
        entries = await self._entries()
        ages = self._aged(entries, time.time())
        return [
            Kept(
                folder=removed,
                delete_at=trash.delete_at(ages, removed.path.name, self._days),
                size=await lanes.answer(LANE, self._bytes_of, removed.path),
            )
            for removed in entries
        ]

    async def restore(self, name: str) -> Entry:
        """Restores the most recently removed job with this name, or else the one with this id. NoSuchJob;
        NameTaken."""
        async with self._lock:
            return await self._registry.restore(await self._find(name))

    async def delete(self, name: str) -> None:
        """Deletes a removed job for good, chosen as in `restore`. NoSuchJob."""
        async with self._lock:
            await self._delete(await self._find(name))

    async def make_room(self, enough: Callable[[FreeSpace], bool], *, spare_seconds: float = 0.0) -> None:
        """Deletes removed jobs, the oldest first, until the disk has enough room. Files may have other hard links
        outside the trash, so the free space is checked each time. `spare_seconds`: jobs removed within this time
        stay. StorageFailed."""
        async with self._lock:
            for removed in reversed(await self._entries()):
                before = await self._room()
                if enough(before) or time.time() - removed.removed_at < spare_seconds:
                    return
                await self._delete(removed)
                freed = (await self._room()).free - before.free
                log.warning(
                    "the disk of %s is running low; deleted the removed job %s, which freed %s",
                    self._registry.home.path,
                    removed.name,
                    file_size(max(0, freed)),
                )

    async def own_bytes(self) -> int:
        """Bytes that emptying the trash would free."""
        return await lanes.answer(LANE, self._bytes_of, self._trash.path)

    def _bytes_of(self, folder: Path) -> int:
        return own_bytes(folder, swept=self._registry.home.shared_pictures)

    async def _find(self, name: str) -> RemovedFolder:
        entries = await self._entries()
        for wanted in ([one for one in entries if one.name == name], [one for one in entries if one.id == name]):
            if wanted:
                return wanted[0]
        raise NoSuchJob(
            f"There is no removed job with the name or id {short(name)}; see `fluxgymctl list --removed`.",
            name=short(name),
        )

    async def _entries(self) -> list[RemovedFolder]:
        try:
            return await lanes.answer(LANE, self._trash.entries)
        except OSError as error:
            raise StorageFailed(f"{self._trash.path} cannot be read: {error.strerror or error}.") from None

    async def _room(self) -> FreeSpace:
        return await lanes.answer(LANE, room, self._registry.home.path)

    async def _delete(self, removed: RemovedFolder) -> None:
        await self._registry.disk(lambda: self._trash.delete(removed))
        await self._registry.sweep_pictures()

    def _aged(self, entries: list[RemovedFolder], now: float) -> Ages:
        return trash.aged(self._ages, {removed.path.name: removed.removed_at for removed in entries}, now)
