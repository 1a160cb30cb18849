# SPDX-License-Identifier: Apache-2.0
"""How the trainer answers signals. The handlers are installed before torch is imported, which takes seconds.

SIGTERM, SIGINT and SIGHUP (a closed terminal) ask the trainer to end. The handler does no work: while there is
nothing to save (loading), it exits at once; otherwise it sets a flag, which is read after each step of the loop, each
picture of the caching and each denoising step of the sampling. The exit status is 128 plus the signal's number, so
143 for SIGTERM. Under nohup, SIGHUP stays ignored. SIGQUIT prints every thread's stack to stderr (the daemon's
evidence of a hang), and the training continues. In a scope, SIGTERM reaches every process at once (issue 2), which is
why batches are prepared by threads and not by child processes.

SIGUSR1 and SIGUSR2 are requests to save and to sample now; the training continues. A request that arrives before
there is anything to save or sample is kept.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from types import FrameType


class Stopped(Exception):
    """A signal asked to stop, so the work was abandoned. No file is half written."""


class StopRequest:
    """The flag that the handler sets and the work reads. `signum` is 0 until a signal arrives."""

    def __init__(self) -> None:
        self.signum = 0
        self._deferred = False

    def install(self) -> None:
        """Installs handlers of SIGTERM, SIGINT, SIGHUP and SIGQUIT. The main thread calls this once."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._handle)
        faulthandler.register(signal.SIGQUIT, file=sys.stderr, all_threads=True, chain=False)

    def close(self) -> None:
        """Ignores signals from now on: the exit status is settled.

        Python restores the default actions of handled signals while it exits, but not of ignored ones. So if a
        launcher sends a second SIGTERM, the status stays 143 or 0 instead of death by a signal.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def defer(self) -> None:
        """Makes a signal only set the flag from now on, since there is work to finish or save."""
        self._deferred = True

    def leave_at_once(self) -> None:
        """Makes a signal end the process in its handler from now on, since nothing would be lost. If a signal has
        arrived already, raises SystemExit."""
        self._deferred = False
        self.leave_if_requested()

    def leave_if_requested(self) -> None:
        """Raises SystemExit if a signal arrived while signals were deferred."""
        if self.signum:
            raise SystemExit(self.exit_status)

    def join(self, signum: int) -> None:
        """Takes over the signal of another process of this training; 0 means none. The greatest number counts."""
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
    """The requests to save and to sample during the training. Several of one kind within a step count as one."""

    def __init__(self) -> None:
        self._wished: set[int] = set()

    def install(self) -> None:
        """Installs handlers of SIGUSR1 and SIGUSR2, which would otherwise end the process. The main thread calls this
        once."""
        signal.signal(signal.SIGUSR1, self.handle)
        signal.signal(signal.SIGUSR2, self.handle)

    def close(self) -> None:
        """Ignores both signals from now on."""
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        self._wished.add(signum)

    def take_save(self) -> bool:
        """Whether SIGUSR1 has arrived since the last call."""
        return self._take(signal.SIGUSR1)

    def take_sample(self) -> bool:
        """Whether SIGUSR2 has arrived since the last call."""
        return self._take(signal.SIGUSR2)

    def _take(self, signum: signal.Signals) -> bool:
        wished = signum in self._wished
        self._wished.discard(signum)
        return wished
