# SPDX-License-Identifier: Apache-2.0
"""How an attempt is stopped, step by step (DESIGN: Stopping).

SIGTERM to the trainer's own process first, which saves and leaves; at the limit everything of the attempt is stopped,
which ends in SIGKILL at another limit; what is left after that is killed again and again. A job is stopped when
nothing of it remains, and never before.
"""

import time

from fluxgymd.attempts.port import Adapter, AttemptRef
from fluxgymd.failpoints import failpoint


class StopLadder:
    """The steps of one stop. `climb` is called at each look at the attempt, and does what is due."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._begun = time.monotonic()
        self._terminated = False
        self._stopped = False

    async def climb(self, adapter: Adapter, ref: AttemptRef) -> str | None:
        """What was done now, in words; None if nothing was due."""
        since = time.monotonic() - self._begun
        if since > 2 * self._limit + 10:
            await adapter.kill(ref)
            return "SIGKILL to what is left"
        if since > self._limit and not self._stopped:
            self._stopped = True
            await adapter.stop(ref)
            return f"the trainer did not leave within {self._limit:g} s: its processes are stopped"
        if not self._terminated and not self._stopped:
            # The trainer may not run yet: then this is tried again at the next look.
            self._terminated = await adapter.terminate(ref)
            failpoint("stop.terminated")
            return "SIGTERM to the trainer, which saves and leaves" if self._terminated else None
        return None
