# SPDX-License-Identifier: Apache-2.0
"""Checks every few seconds whether the home's disk has room for what the daemon itself writes."""

import asyncio
from pathlib import Path

from fluxgymd.background import lanes
from fluxgymd.core import storage
from fluxgymd.store.room import room

LOOK_SECONDS = 5.0
LANE = "the disk of the home"
"""No job can have this name."""


class DiskRoom:
    def __init__(self, home: Path) -> None:
        self._home = home
        self.problem: str | None = None
        """What the last check found, in one sentence; None if there is room."""

    async def run(self) -> None:
        """Checks forever. While the volume does not answer, the last result stands."""
        while True:
            self.problem = await lanes.run(LANE, _problem, self._home)
            await asyncio.sleep(LOOK_SECONDS)


def _problem(home: Path) -> str | None:
    try:
        left = room(home)
    except OSError as error:
        return storage.sentence(error, str(home))
    return storage.room_problem(str(home), free=left.free, files=left.files, free_files=left.free_files)
