# SPDX-License-Identifier: Apache-2.0
"""Runs many small pieces of blocking work in order, so that one that hangs does not hold up those after it.

One thread is enough if the disk answers. Whenever no answer comes for a moment, more threads go on with the remaining
items. An item that does not answer in time is reported as silent; its thread is left behind, since nothing can end a
thread that waits in the kernel.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from enum import Enum
from typing import Generic, TypeVar

from fluxgymd.background import limits
from fluxgymd.background.lanes import THREADS

T = TypeVar("T")
A = TypeVar("A")

LOOK_SECONDS = 0.1
MOST_ASKED = limits.share(512, 2)
"""Items that may be in progress at a time. Each takes a thread and opens files."""
BATCH = 32
"""Answers that may wait to be taken. Without this bound a thousand were waiting, and 10,000 jobs took 30 MB more."""


class Silent(Enum):
    """No answer came in time."""

    SILENT = "silent"


SILENT = Silent.SILENT


def answers(items: Iterable[T], ask: Callable[[T], A], *, patience: float) -> Iterator[tuple[T, A | Silent]]:
    """Yields each item with the result of `ask` for it, or SILENT if `ask` takes longer than `patience` (seconds), in
    the order in which the results come. Raises what `ask` raises. Blocks."""
    call = _Call(items, ask)
    while not call.over:
        yield from call.look(patience)


class _Call(Generic[T, A]):
    def __init__(self, items: Iterable[T], ask: Callable[[T], A]) -> None:
        self._ask = ask
        self._left = deque(enumerate(items))
        self._asked: dict[int, tuple[T, float]] = {}
        """By number: the items in progress, and when each began (monotonic)."""
        self._answered: list[tuple[T, A | Silent]] = []
        self._lock = threading.Condition()
        """Guards the three above. An item is in exactly one of them until `look` has returned it."""
        self._threads: list[Future[None]] = []
        self._add_threads(1)

    @property
    def over(self) -> bool:
        with self._lock:
            return not (self._left or self._asked or self._answered)

    def look(self, patience: float) -> list[tuple[T, A | Silent]]:
        """The answers since the last look. Waits for at most LOOK_SECONDS."""
        with self._lock:
            self._lock.wait_for(self._worth_a_look, LOOK_SECONDS)
        for thread in self._threads:
            if thread.done():
                thread.result()
        with self._lock:
            known, self._answered = self._answered, []
            self._lock.notify_all()
            now = time.monotonic()
            late = [number for number, (_, since) in self._asked.items() if now - since > patience]
            known += [(self._asked.pop(number)[0], SILENT) for number in late]
            room = min(len(self._threads), MOST_ASKED - len(self._asked))
            stalls = bool(self._left) and not known
        if stalls:
            self._add_threads(room)
        return known

    def _worth_a_look(self) -> bool:
        return len(self._answered) >= BATCH or not (self._left or self._asked)

    def _add_threads(self, count: int) -> None:
        self._threads += [THREADS.submit(self._work) for _ in range(count)]

    def _work(self) -> None:
        while (one := self._next()) is not None:
            number, item = one
            answer = self._ask(item)
            with self._lock:
                if self._asked.pop(number, None) is not None:  # otherwise it was reported as silent
                    self._answered.append((item, answer))
                del answer
                if self._worth_a_look():
                    self._lock.notify_all()
                self._lock.wait_for(lambda: len(self._answered) < BATCH)

    def _next(self) -> tuple[int, T] | None:
        with self._lock:
            if not self._left:
                return None
            number, item = self._left.popleft()
            self._asked[number] = item, time.monotonic()
            return number, item
