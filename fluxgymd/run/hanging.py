# SPDX-License-Identifier: Apache-2.0
"""Saves the evidence of an attempt that the watchdog found stuck, before the attempt is stopped (docs/hangs.md).

The event is in the journal before any of this. A daemon that restarts in between finds it there and continues: it
keeps the evidence that is saved, saves what is missing, and begins the stop with SIGTERM again.
"""

import asyncio
from collections.abc import Sequence

from fluxgymd.attempts.port import Adapter, AttemptRef
from fluxgymd.core.job import Attempt, Hang
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.store.home import JobFolder
from fluxgymd.watchdog.evidence import Scene, secure, secure_rest


class Hanging:
    def __init__(self, folder: JobFolder, adapter: Adapter, observations: Sequence[Observation]) -> None:
        """`observations`: the watchdog's last looks; it keeps adding to them."""
        self._folder = folder
        self._adapter = adapter
        self._observations = observations
        self._securing: asyncio.Task[bool] | None = None

    def secured(self, attempt: Attempt, hang: Hang, ref: AttemptRef) -> bool:
        """Whether the stop may begin. The first call starts to save the evidence; later ones ask if that is done."""
        if self._securing is None:
            work = secure(self._scene(attempt, hang, ref), tuple(self._observations))
            self._securing = asyncio.create_task(work, name=f"evidence-{self._folder.name}")
        return self._securing.done()

    @property
    def wants_abort(self) -> bool:
        """Whether the stop should abort the trainer at its limit, so that it writes its stacks."""
        done = self._securing is not None and self._securing.done() and not self._securing.cancelled()
        return done and self._securing is not None and self._securing.result()

    async def over(self, attempt: Attempt, hang: Hang, ref: AttemptRef) -> None:
        """Saves what is still missing once nothing of the attempt is left, such as the stacks that it wrote last."""
        if self._securing is not None:
            await asyncio.wait({self._securing})
        await secure_rest(self._scene(attempt, hang, ref), tuple(self._observations))

    def close(self) -> None:
        if self._securing is not None:
            self._securing.cancel()

    def _scene(self, attempt: Attempt, hang: Hang, ref: AttemptRef) -> Scene:
        return Scene(folder=self._folder, attempt=attempt, hang=hang, adapter=self._adapter, ref=ref)
