# SPDX-License-Identifier: Apache-2.0
"""How an attempt is stopped, step by step (DESIGN: Stopping).

SIGTERM to the trainer's own process first, which saves and leaves; at the limit everything of the attempt is stopped,
which ends in SIGKILL at another limit; what is left after that is killed again and again. A job is stopped when
nothing of it remains, and never before.
"""

import signal
import time

from fluxgymd.attempts.port import Adapter, AttemptRef
from fluxgymd.failpoints import failpoint

KILL_AGAIN_SECONDS = 30.0
"""Between two kills of what does not go: a process that hangs in the kernel may not go for hours."""


class StopLadder:
    """The steps of one stop. `climb` is called at each look at the attempt, and does what is due."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._begun = time.monotonic()
        self._terminated = False
        self._kill_at: float | None = None  # known once all was told to stop

    async def climb(self, adapter: Adapter, ref: AttemptRef, *, trainer_ended: bool = False) -> str | None:
        """What was done now, in words; None if nothing was due. `trainer_ended`: it needs no time to save."""
        now = time.monotonic()
        if self._kill_at is not None:
            if now < self._kill_at:
                return None
            self._kill_at = now + KILL_AGAIN_SECONDS
            await adapter.kill(ref)
            return "SIGKILL to what is left"
        if trainer_ended or now - self._begun > self._limit:
            self._kill_at = now + self._limit + 10  # the adapter kills at the limit, and this is for its failure
            await adapter.stop(ref)
            if trainer_ended:
                return "the trainer has ended, but processes of it are left: they are stopped"
            return f"the trainer did not leave within {self._limit:g} s: its processes are stopped"
        if not self._terminated:
            # The trainer may not run yet: then this is tried again at the next look.
            self._terminated = await adapter.send_signal(ref, signal.SIGTERM)
            failpoint("stop.terminated")
            return "SIGTERM to the trainer, which saves and leaves" if self._terminated else None
        return None
