# SPDX-License-Identifier: Apache-2.0
"""Does what is due in the stop of an attempt (core/stop.py). A job counts as stopped only when nothing of it remains.

A trainer that gets SIGABRT writes its stacks and dies (PYTHONFAULTHANDLER, jobs/spec.py).
"""

import signal
import time
from dataclasses import replace

from fluxgymd.attempts.port import Adapter, AttemptRef
from fluxgymd.core.stop import Due, begin, step
from fluxgymd.failpoints import failpoint


class StopLadder:
    """The steps of one stop. `climb` is called at each look at the attempt, and does what is due."""

    def __init__(self, limit: float, *, saves: bool, abort: bool = False) -> None:
        """`limit`: seconds for the trainer to exit on its own. `saves`: whether it saves a checkpoint on SIGTERM.
        `abort`: whether it gets SIGABRT at the limit."""
        self._saves = saves
        self._stop = begin(limit, abort=abort, now=time.monotonic())

    @property
    def killed_at(self) -> float | None:
        """Monotonic: when whatever was left got its first SIGKILL."""
        return self._stop.killed_at

    async def climb(self, adapter: Adapter, ref: AttemptRef, *, trainer_ended: bool = False) -> str | None:
        """Does what is due and describes it; None if nothing was done. `trainer_ended`: it needs no time to save."""
        self._stop, due = step(self._stop, trainer_ended=trainer_ended, now=time.monotonic())
        too_late = f"the trainer did not exit within {self._stop.limit:g} s"
        match due:
            case Due.NOTHING:
                return None
            case Due.KILL:
                await adapter.kill(ref)
                return "SIGKILL sent to the remaining processes"
            case Due.STOP:
                await adapter.stop(ref)
                if trainer_ended:
                    return "the trainer has ended, but some of its processes remain: stopping them"
                return f"{too_late}: stopping its processes"
            case Due.ABORT:
                sent = await adapter.send_signal(ref, signal.SIGABRT)
                return f"{too_late}: SIGABRT sent so that it writes its stacks" if sent else None
            case Due.TERMINATE:
                # The trainer may not run yet; then the next look tries again.
                sent = await self._terminate(adapter, ref)
                self._stop = replace(self._stop, terminated=sent)
                failpoint("stop.terminated")
                does = "saves and exits" if self._saves else "exits"
                return f"SIGTERM sent to the trainer, which {does}" if sent else None

    @staticmethod
    async def _terminate(adapter: Adapter, ref: AttemptRef) -> bool:
        """False also if the records that name the trainer cannot be read; the steps at the limit do not need them."""
        try:
            return await adapter.send_signal(ref, signal.SIGTERM)
        except OSError:
            return False
