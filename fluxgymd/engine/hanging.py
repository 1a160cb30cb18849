# SPDX-License-Identifier: Apache-2.0
"""One attempt that the watchdog found stuck: first its evidence, then the stop (DESIGN: The watchdog).

The event is in the journal before any of it. A daemon that dies in between finds it there and goes on: what is saved
already stays, what is missing is saved, and the stop begins with SIGTERM again.
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
        """`observations`: the last looks of the watchdog; it adds to them while it looks."""
        self._folder = folder
        self._adapter = adapter
        self._observations = observations
        self._securing: asyncio.Task[bool] | None = None

    def secured(self, attempt: Attempt, hang: Hang, ref: AttemptRef) -> bool:
        """Whether the stop may come. The first call begins to save the evidence, the others ask how far that is."""
        if self._securing is None:
            work = secure(self._scene(attempt, hang, ref), tuple(self._observations))
            self._securing = asyncio.create_task(work, name=f"evidence-{self._folder.name}")
        return self._securing.done()

    @property
    def wants_abort(self) -> bool:
        """Whether the trainer is to be aborted at the end of its time, so that it tells its stacks."""
        done = self._securing is not None and self._securing.done() and not self._securing.cancelled()
        return done and self._securing is not None and self._securing.result()

    async def over(self, attempt: Attempt, hang: Hang, ref: AttemptRef) -> None:
        """Nothing of the attempt is left: what it wrote last is taken too, and what is missing."""
        if self._securing is not None:
            await asyncio.wait({self._securing})
        await secure_rest(self._scene(attempt, hang, ref), tuple(self._observations))

    def close(self) -> None:
        if self._securing is not None:
            self._securing.cancel()

    def _scene(self, attempt: Attempt, hang: Hang, ref: AttemptRef) -> Scene:
        return Scene(folder=self._folder, attempt=attempt, hang=hang, adapter=self._adapter, ref=ref)
