# SPDX-License-Identifier: Apache-2.0
"""Measures how late the event loop is, by the length of each of its turns. This is exact, because everything that is
due waits for the current turn to end.

A task that sleeps and checks the clock would miss what happens between its checks, and would wake an idle daemon.
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
        """The length in seconds of the longest turn of the last 10 to 20 s, including the current one."""
        now = time.monotonic()
        self._roll(now)
        return max(self._longest, self._longest_before, now - self._woke)

    def _note(self, now: float) -> None:
        self._roll(now)
        self._longest = max(self._longest, now - self._woke)

    def _roll(self, now: float) -> None:
        """Drops windows that are too old."""
        windows = (now - self._window) // WINDOW_SECONDS
        if windows >= 1:
            self._longest_before = self._longest if windows < 2 else 0.0
            self._longest = 0.0
            self._window += windows * WINDOW_SECONDS
