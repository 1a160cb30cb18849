# SPDX-License-Identifier: Apache-2.0
"""Runs work that may hang or fail, one piece at a time, each with a deadline. A result that does not come is unknown.

While a piece hangs no other begins, so a volume that is away holds one thread per job, rather than one more at each
look. The result of a piece that is only slow is used one look later.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from fluxgymd.background.lanes import THREADS

log = logging.getLogger(__name__)

T = TypeVar("T")


class Lane(Generic[T]):
    def __init__(self, *, deadline_seconds: float) -> None:
        self._deadline = deadline_seconds
        self._under_way: asyncio.Future[T] | None = None

    async def run(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Runs a piece of work and returns its result. If it misses the deadline, returns the previous piece's result
        if that came late, and otherwise None. Also returns None if the work failed, or if the previous piece still
        hangs; then the work is not begun."""
        before = self._under_way
        if before is not None and not before.done():
            return None
        self._under_way = asyncio.ensure_future(work())
        done, _ = await asyncio.wait({self._under_way}, timeout=self._deadline)
        late = _result(before) if before is not None else None
        if not done:
            return late
        here, self._under_way = self._under_way, None
        return _result(here)

    def close(self) -> None:
        if self._under_way is not None:
            self._under_way.cancel()


def _result(piece: asyncio.Future[T]) -> T | None:
    """The result of a piece that is done; None if it failed."""
    try:
        return piece.result()
    except Exception:
        log.exception("part of a look failed")
        return None


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Runs blocking work in a thread that the daemon's exit does not wait for. Its exception is the future's."""
    return asyncio.get_running_loop().run_in_executor(THREADS, work)
