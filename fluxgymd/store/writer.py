# SPDX-License-Identifier: Apache-2.0
"""The threads that write: a hung volume delays the job whose write hangs, and nobody else (DESIGN: The journal)."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS = 32


class Writer:
    """Runs blocking disk work off the event loop, and knows how long the oldest of it has been under way."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="writer")
        self._under_way: dict[int, float] = {}
        self._next = 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of the work, or its exception. The work goes on to its end even if the caller is cancelled:
        a half-written record would be worse than a late one."""
        number = self._next
        self._next += 1
        self._under_way[number] = time.monotonic()

        def timed() -> T:
            try:
                return work()
            finally:
                self._under_way.pop(number, None)

        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._pool, timed))

    def oldest_age(self) -> float:
        """Seconds since the oldest unfinished work was handed in; 0 if there is none."""
        started = min(tuple(self._under_way.values()), default=None)
        return 0.0 if started is None else time.monotonic() - started

    def close(self) -> None:
        """Lets running work end in the background; takes no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
