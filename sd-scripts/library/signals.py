# SPDX-License-Identifier: Apache-2.0
"""How the trainer answers signals. Imported and installed before torch, so that no second of its life is deaf.

SIGTERM and SIGINT ask for an end, and the handler does no work: while there is nothing to save (loading) it
leaves at once, otherwise it sets a flag that the loop reads after each step, the caching after each picture
and the sampling after each denoising step. The exit status is 128 plus the signal's number, so 143 for
SIGTERM. SIGQUIT writes every thread's stack to stderr and the training goes on (the daemon's evidence of a
hang). In a scope SIGTERM reaches every process at once (issue 2), which is why there is only this one.

SIGUSR1 and SIGUSR2 are wishes, to save and to sample now: the training goes on. One that comes before there is
anything to save or sample is kept.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from types import FrameType


class Stopped(Exception):
    """The work was left because a signal asked for it; nothing is half written."""


class StopRequest:
    """The one flag between the handler and the work. `signum` is 0 until a signal came."""

    def __init__(self) -> None:
        self.signum = 0
        self._deferred = False

    def install(self) -> None:
        """Takes over SIGTERM, SIGINT and SIGQUIT. To be called by the main thread, once."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        faulthandler.register(signal.SIGQUIT, file=sys.stderr, all_threads=True, chain=False)

    def close(self) -> None:
        """From now on no signal changes anything: the exit status is settled.

        Python gives handlers back while it ends, but not this one. So a second SIGTERM, as a launcher sends it, makes
        no death by a signal of 143 or 0.
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def defer(self) -> None:
        """From now on a signal sets the flag only: there is work that must be finished or put away."""
        self._deferred = True

    def leave_at_once(self) -> None:
        """From now on a signal ends the process in its handler: nothing would be lost."""
        self._deferred = False
        self.leave_if_requested()

    def leave_if_requested(self) -> None:
        """Ends the process if a signal came while signals were deferred."""
        if self.signum:
            raise SystemExit(self.exit_status)

    def join(self, signum: int) -> None:
        """Takes over what another process of this training was asked for; 0 is nothing."""
        self.signum = max(self.signum, signum)

    @property
    def requested(self) -> bool:
        return self.signum != 0

    @property
    def exit_status(self) -> int:
        """128 + signal, as a shell reports it: 143 for SIGTERM."""
        return 128 + self.signum

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        self.signum = signum
        if not self._deferred:
            # os._exit: an exception out of a handler may surface inside torch's or transformers' import,
            # where it can be swallowed.
            os._exit(self.exit_status)


class Wishes:
    """What was asked for while the training goes on. Wishes of one kind that come together are one."""

    def __init__(self) -> None:
        self._wished: set[int] = set()

    def install(self) -> None:
        """Takes over SIGUSR1 and SIGUSR2, which would end the process. To be called by the main thread, once."""
        signal.signal(signal.SIGUSR1, self.handle)
        signal.signal(signal.SIGUSR2, self.handle)

    def close(self) -> None:
        """From now on they ask for nothing, and end nothing."""
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        self._wished.add(signum)

    def take_save(self) -> bool:
        """Whether SIGUSR1 came since the last call."""
        return self._take(signal.SIGUSR1)

    def take_sample(self) -> bool:
        """Whether SIGUSR2 came since the last call."""
        return self._take(signal.SIGUSR2)

    def _take(self, signum: signal.Signals) -> bool:
        wished = signum in self._wished
        self._wished.discard(signum)
        return wished
