# SPDX-License-Identifier: Apache-2.0
"""Who waits for which of systemd's jobs. A job may be done before its name is known: JobRemoved came before the reply
that carries the job's path in 10 to 43 % of 400 starts (daemons.md 2.6, 2), so early results are kept, bounded.
"""

from collections import OrderedDict
from collections.abc import Callable

EARLY_RESULTS = 256

Done = Callable[[str | None], None]
"""Gets the job's result (`done`, `failed`, …); None if nobody will ever tell."""


class Jobs:
    def __init__(self) -> None:
        self._early: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[str, Done] = {}

    def wait(self, job: str, done: Done) -> None:
        """`done` is called once, maybe before this returns."""
        if job in self._early:
            done(self._early.pop(job))
        else:
            self._waiting[job] = done

    def removed(self, job: str, result: str) -> None:
        """The signal came."""
        if job in self._waiting:
            self._waiting.pop(job)(result)
            return
        self._early[job] = result
        if len(self._early) > EARLY_RESULTS:
            self._early.popitem(last=False)

    def give_up(self) -> None:
        """Signals may have been lost, and a new manager counts its jobs anew."""
        waiting, self._waiting = self._waiting, {}
        self._early.clear()
        for done in waiting.values():
            done(None)
