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
from fluxgymd.snapshots.captions import Captions
from fluxgymd.snapshots.linked import Order
from fluxgymd.snapshots.snapshot import Snapshot

LIMITS = ResourceLimits(data_bytes=4 << 30)
"""The largest picture accepted has 200 megapixels of up to 8 bytes, and its decoder may hold it twice: 3.2 GB."""
AT_ONCE = 16
"""How many copies run at a time; each has a process that opens its pictures."""


class Copier:
    def __init__(self) -> None:
        self._turns = Turns(AT_ONCE)

    async def copy(self, source: Path, target: Path, how: Captions, *, shared: Path | None = None) -> Snapshot:
        """Copies a dataset. `how`: how its captions are written; `shared`: the folder of the pictures that jobs
        share, if the target may link to them. InvalidDataset or StorageFailed if it fails."""
        words = [str(source), str(target), msgspec.json.encode(how).decode()]
        if shared is not None:
            words.append(str(shared))
        async with self._turns.turn():
            return await _snapshot("fluxgymd.snapshots.snapshot", *words, about=str(source))

    async def link(self, order: Order, target: Path, *, name: str) -> Snapshot:
        """Builds a folder from the store. `name`: that of the dataset. InvalidDataset or StorageFailed."""
        data = msgspec.json.encode(order)
        async with self._turns.turn():
            return await _snapshot("fluxgymd.snapshots.linked", str(target), about=name, stdin=data)


async def _snapshot(module: str, *words: str, about: str, stdin: bytes = b"") -> Snapshot:
    """What the program prints. `about`: the dataset, for messages."""
    process = await asyncio.create_subprocess_exec(
        *helpers.tied(helpers.command(module, *words), LIMITS),
        cwd=helpers.DIRECTORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate(stdin)
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    try:
        snapshot = msgspec.json.decode(output, type=Snapshot)
    except msgspec.MsgspecError:
        raise InvalidDataset(
            f"The dataset {about} could not be read: the program that opens its pictures died "
            f"(status {process.returncode}).",
            path=about,
        ) from None
    if snapshot.problem is not None:
        if snapshot.storage:
            raise StorageFailed(snapshot.problem) from OSError(snapshot.errno, snapshot.problem, snapshot.path)
        raise InvalidDataset(snapshot.problem, path=snapshot.path or about)
    return snapshot
