# SPDX-License-Identifier: Apache-2.0
"""Checks every few seconds whether the home's disk has room for what the daemon itself writes. If the disk runs low,
deletes removed jobs first.
"""

import asyncio
from pathlib import Path

from fluxgym.errors import StorageFailed
from fluxgymd.background import lanes
from fluxgymd.core.disk import storage
from fluxgymd.run.trash import Trash
from fluxgymd.store.room import FreeSpace, room

LOOK_SECONDS = 5.0
UNDO_SECONDS = 600.0
"""How long a removal can be undone even if the disk runs low, as long as it is not full."""
LANE = "the disk of the home"
"""No job can have this name."""


class DiskRoom:
    def __init__(self, home: Path, trash: Trash) -> None:
        self._home = home
        self._trash = trash
        self.problem: str | None = None
        """What the last check found, in one sentence; None if there is room."""

    async def run(self) -> None:
        """Checks forever. While the volume does not answer, the last result stands."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Checks once."""
        self.problem = await self._examine()

    async def _examine(self) -> str | None:
        try:
            left = await lanes.run(LANE, room, self._home)
            if not _has_room(left):
                await self._trash.make_room(_has_room, spare_seconds=UNDO_SECONDS)
                left = await lanes.run(LANE, room, self._home)
            if self._problem(left) is not None:
                await self._trash.make_room(lambda left: self._problem(left) is None)
                left = await lanes.run(LANE, room, self._home)
        except OSError as error:
            return storage.sentence(error, str(self._home))
        except StorageFailed as error:
            return error.message
        return self._problem(left)

    def _problem(self, left: FreeSpace) -> str | None:
        return storage.room_problem(str(self._home), free=left.free, files=left.files, free_files=left.free_files)


def _has_room(left: FreeSpace) -> bool:
    return not storage.is_low(free=left.free, size=left.size, files=left.files, free_files=left.free_files)
