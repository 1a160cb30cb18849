# SPDX-License-Identifier: Apache-2.0
"""How an attempt is stopped, step by step (DESIGN: Stopping).

SIGTERM to the trainer's own process first, which saves and leaves; at the limit everything of the attempt is stopped,
which ends in SIGKILL at another limit; what is left after that is killed again and again. A job is stopped when
nothing of it remains, and never before. A trainer that hangs and has not told its stacks is sent SIGABRT before its
processes are stopped: it dies of that, and writes them first (PYTHONFAULTHANDLER, engine/spec.py).
"""

import signal
import time

from fluxgymd.attempts.port import Adapter, AttemptRef
from fluxgymd.failpoints import failpoint

ABORT_SECONDS = 5.0
"""For writing the stacks of some hundred threads."""
KILL_AGAIN_SECONDS = 30.0
"""Between two kills of what does not go: a process that hangs in the kernel may not go for hours."""


class StopLadder:
    """The steps of one stop. `climb` is called at each look at the attempt, and does what is due."""

    def __init__(self, limit: float, *, abort: bool = False) -> None:
        """`limit`: seconds for the trainer to save and leave. `abort`: by SIGABRT at its end."""
        self._limit = limit
        self._abort = abort
        self._stop_at = time.monotonic() + limit
        self.killed_at: float | None = None
        """Monotonic: when what was left was sent SIGKILL first."""
        self._terminated = False
        self._kill_at: float | None = None  # known once all was told to stop

    async def climb(self, adapter: Adapter, ref: AttemptRef, *, trainer_ended: bool = False) -> str | None:
        """What was done now, in words; None if nothing was due. `trainer_ended`: it needs no time to save."""
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
            self._kill_at = now + self._limit + 10  # the adapter kills at the limit, and this is for its failure
            await adapter.stop(ref)
            if trainer_ended:
                return "the trainer has ended, but processes of it are left: they are stopped"
            return f"the trainer did not leave within {self._limit:g} s: its processes are stopped"
        if not self._terminated:
            # The trainer may not run yet: then this is tried again at the next look.
            self._terminated = await self._terminate(adapter, ref)
            failpoint("stop.terminated")
            return "SIGTERM to the trainer, which saves and leaves" if self._terminated else None
        return None

    @staticmethod
    async def _terminate(adapter: Adapter, ref: AttemptRef) -> bool:
        """False also where the records that name the trainer cannot be read: at the limit they are not needed."""
        try:
            return await adapter.send_signal(ref, signal.SIGTERM)
        except OSError:
            return False
