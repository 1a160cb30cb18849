# SPDX-License-Identifier: Apache-2.0
"""Stops an attempt, step by step.

First only the trainer's own process gets SIGTERM, so that it can save and exit. At the limit everything of the
attempt is stopped, which ends in SIGKILL at another limit, and what is left after that is killed again and again. A
job counts as stopped only when nothing of it remains. A trainer that hangs and has not written its stacks gets
SIGABRT before its processes are stopped: it writes the stacks and dies (PYTHONFAULTHANDLER, jobs/spec.py).
"""

import signal
import time

from fluxgymd.attempts.port import Adapter, AttemptRef
from fluxgymd.failpoints import failpoint

ABORT_SECONDS = 5.0
"""Enough to write the stacks of some hundred threads."""
KILL_AGAIN_SECONDS = 30.0
"""Between two SIGKILLs: a process that hangs in the kernel may stay for hours."""


class StopLadder:
    """The steps of one stop. `climb` is called at each look at the attempt, and does what is due."""

    def __init__(self, limit: float, *, saves: bool, abort: bool = False) -> None:
        """`limit`: seconds for the trainer to exit on its own. `saves`: whether it saves a checkpoint on SIGTERM.
        `abort`: whether it gets SIGABRT at the limit."""
        self._saves = saves
        self._limit = limit
        self._abort = abort
        self._stop_at = time.monotonic() + limit
        self.killed_at: float | None = None
        """Monotonic: when what was left got its first SIGKILL."""
        self._terminated = False
        self._kill_at: float | None = None  # set once everything was told to stop

    async def climb(self, adapter: Adapter, ref: AttemptRef, *, trainer_ended: bool = False) -> str | None:
        """Does what is due and describes it; None if nothing was due. `trainer_ended`: it needs no time to save."""
        now = time.monotonic()
        if self._kill_at is not None:
            if now < self._kill_at:
                return None
            self._kill_at = now + KILL_AGAIN_SECONDS
            self.killed_at = self.killed_at or now
            await adapter.kill(ref)
            return "SIGKILL to what is left"
        if self._abort and not trainer_ended and now > self._stop_at:
            self._abort = False
            self._stop_at = now + ABORT_SECONDS
            if await adapter.send_signal(ref, signal.SIGABRT):
                return f"the trainer did not leave within {self._limit:g} s: SIGABRT, so that it writes its stacks"
        if trainer_ended or now > self._stop_at:
            self._kill_at = now + self._limit + 10  # in case the adapter's own SIGKILL at the limit fails
            await adapter.stop(ref)
            if trainer_ended:
                return "the trainer has ended, but processes of it are left: they are stopped"
            return f"the trainer did not leave within {self._limit:g} s: its processes are stopped"
        if not self._terminated:
            # The trainer may not run yet; then the next look tries again.
            self._terminated = await self._terminate(adapter, ref)
            failpoint("stop.terminated")
            does = "saves and leaves" if self._saves else "leaves"
            return f"SIGTERM to the trainer, which {does}" if self._terminated else None
        return None

    @staticmethod
    async def _terminate(adapter: Adapter, ref: AttemptRef) -> bool:
        """False also if the records that name the trainer cannot be read; the steps at the limit do not need them."""
        try:
            return await adapter.send_signal(ref, signal.SIGTERM)
        except OSError:
            return False
