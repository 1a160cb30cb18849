# SPDX-License-Identifier: Apache-2.0
"""Many small pieces of blocking work, one after the other; one that hangs holds up none of those behind it.

One thread is enough for a disk that answers. Where nothing was answered for a moment more threads go on with the
others, and what has not answered in time is told as silent. Its thread is left behind: nothing ends a thread that
waits in the kernel.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from enum import Enum
from typing import Generic, TypeVar

from fluxgymd.lanes import THREADS

T = TypeVar("T")
A = TypeVar("A")

LOOK_SECONDS = 0.1
MOST_ASKED = 512
"""At a time: each takes a thread."""
BATCH = 32
"""Answers that wait to be taken. Without a bound a thousand of them did, and 10,000 jobs took 30 MB more."""


class Silent(Enum):
    """There was no answer in time."""

    SILENT = "silent"


SILENT = Silent.SILENT


def answers(items: Iterable[T], ask: Callable[[T], A], *, patience: float) -> Iterator[tuple[T, A | Silent]]:
    """Each item with what `ask` says of it, or SILENT if that takes longer than `patience` (seconds); in the order in
    which that is known. What `ask` raises is raised. Blocks."""
    call = _Call(items, ask)
    while not call.over:
        yield from call.look(patience)


class _Call(Generic[T, A]):
    def __init__(self, items: Iterable[T], ask: Callable[[T], A]) -> None:
        self._ask = ask
        self._left = deque(enumerate(items))
        self._asked: dict[int, tuple[T, float]] = {}
        """By number: those that have not answered yet, and since when they are asked (monotonic)."""
        self._answered: list[tuple[T, A | Silent]] = []
        self._lock = threading.Condition()
        """Of the three above: an item is in one of them, until it was told."""
        self._threads: list[Future[None]] = []
        self._add_threads(1)

    @property
    def over(self) -> bool:
        with self._lock:
            return not (self._left or self._asked or self._answered)

    def look(self, patience: float) -> list[tuple[T, A | Silent]]:
        """What became known since the last look. Waits for a moment."""
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
                if self._asked.pop(number, None) is not None:  # or it was told as silent
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
