# SPDX-License-Identifier: Apache-2.0
"""Jobs whose journal is in doubt: the disk refused an event, which could not be taken back either (store/journal.py).

Taking it back is retried until it succeeds. Until then such a job is not started, and the lease that the event would
give it counts as held, since a restart may find the event on the disk (promise 4).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fluxgym.errors import StorageFailed
from fluxgymd.jobs.entry import Entry

SETTLE_SECONDS = 5.0

Disk = Callable[[Callable[[], None]], Awaitable[None]]


class DoubtfulJournals:
    def __init__(self, disk: Disk, changed: Callable[[str], None]) -> None:
        """`disk`: runs blocking work; StorageFailed if the disk refuses. `changed`: called with the name of a job
        that is no longer in doubt."""
        self._disk = disk
        self._changed = changed
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def names(self) -> list[str]:
        """The jobs that are in doubt."""
        return sorted(self._tasks)

    def begin(self, entry: Entry) -> None:
        if entry.name not in self._tasks:
            self._tasks[entry.name] = asyncio.create_task(self._settle(entry), name=f"settle-{entry.name}")

    def forget(self, name: str) -> None:
        """Gives up on a job that was removed."""
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    async def _settle(self, entry: Entry) -> None:
        while entry.journal.in_doubt:
            await asyncio.sleep(SETTLE_SECONDS)
            async with entry.lock:
                if entry.journal.in_doubt:
                    with suppress(StorageFailed):
                        await self._disk(entry.journal.settle)
        self._tasks.pop(entry.name, None)
        self._changed(entry.name)
