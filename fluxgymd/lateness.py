# SPDX-License-Identifier: Apache-2.0
"""How late the event loop was: measured at each of its turns, and exact, since whatever is due waits for the turn
that is under way.

A task that sleeps and looks at the clock would miss what happens between its looks, and would wake an idle daemon.
"""

import selectors
import time

WINDOW_SECONDS = 10.0


class WatchedSelector(selectors.DefaultSelector):
    """The selector of an event loop. Between two calls of `select` the loop does one turn of work."""

    def __init__(self) -> None:
        super().__init__()
        self._woke = self._window = time.monotonic()
        self._longest = 0.0
        self._longest_before = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._note(time.monotonic())
        ready = super().select(timeout)
        self._woke = time.monotonic()
        return ready

    def longest(self) -> float:
        """Seconds of the longest turn of the last 10 to 20 s, the one under way included."""
        now = time.monotonic()
        self._roll(now)
        return max(self._longest, self._longest_before, now - self._woke)

    def _note(self, now: float) -> None:
        self._roll(now)
        self._longest = max(self._longest, now - self._woke)

    def _roll(self, now: float) -> None:
        """Forgets what is too long ago."""
        windows = (now - self._window) // WINDOW_SECONDS
        if windows >= 1:
            self._longest_before = self._longest if windows < 2 else 0.0
            self._longest = 0.0
            self._window += windows * WINDOW_SECONDS
