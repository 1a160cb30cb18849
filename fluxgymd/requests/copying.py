# SPDX-License-Identifier: Apache-2.0
"""Copies a job's pictures in a process of its own (docs/decisions/0013-helpers-for-what-may-hang.md)."""

import asyncio
from contextlib import suppress
from pathlib import Path

import msgspec

from fluxgym.errors import InvalidDataset, StorageFailed
from fluxgymd.background import helpers
from fluxgymd.background.helpers import ResourceLimits
from fluxgymd.background.turns import Turns
from fluxgymd.datasets.captions import Captions
from fluxgymd.datasets.snapshot import Snapshot

LIMITS = ResourceLimits(data_bytes=4 << 30)
"""The largest picture accepted has 200 megapixels of up to 8 bytes, and its decoder may hold it twice: 3.2 GB."""
AT_ONCE = 16
"""How many copies run at a time; each has a process that opens its pictures."""


class Copier:
    def __init__(self) -> None:
        self._turns = Turns(AT_ONCE)

    async def copy(self, source: Path, target: Path, how: Captions) -> Snapshot:
        """Copies a dataset. `how`: how its captions are written. InvalidDataset or StorageFailed if it fails."""
        async with self._turns.turn():
            return await _copy(source, target, how)


async def _copy(source: Path, target: Path, how: Captions) -> Snapshot:
    words = (str(source), str(target), msgspec.json.encode(how).decode())
    process = await asyncio.create_subprocess_exec(
        *helpers.tied(helpers.command("fluxgymd.datasets.snapshot", *words), LIMITS),
        cwd=helpers.DIRECTORY,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    try:
        snapshot = msgspec.json.decode(output, type=Snapshot)
    except msgspec.MsgspecError:
        raise InvalidDataset(
            f"The dataset {source} could not be read: the program that opens its pictures died "
            f"(status {process.returncode}).",
            path=str(source),
        ) from None
    if snapshot.problem is not None:
        if snapshot.storage:
            raise StorageFailed(snapshot.problem)
        raise InvalidDataset(snapshot.problem, path=snapshot.path or str(source))
    return snapshot
