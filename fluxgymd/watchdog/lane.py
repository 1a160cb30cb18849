# SPDX-License-Identifier: Apache-2.0
"""Work that may hang or fail: one piece at a time, each waited for until a deadline. What does not come is unknown.

While a piece hangs no other is begun, so a volume that is gone holds one thread of a job, and not one more at each
look. One that is only slow is seen a look later.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from fluxgymd.lanes import THREADS

log = logging.getLogger(__name__)

T = TypeVar("T")


class Lane(Generic[T]):
    def __init__(self, *, deadline_seconds: float) -> None:
        self._deadline = deadline_seconds
        self._under_way: asyncio.Future[T] | None = None

    async def run(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """The result; what came too late for the call before, if this one is not there by the deadline either. None:
        it failed, there is nothing by the deadline, or the piece before still hangs."""
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
    """Of a piece that is done."""
    try:
        return piece.result()
    except Exception:
        log.exception("a part of a look failed")
        return None


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Runs blocking work in one of the daemon's threads that keep nobody waiting. An exception of it is the
    future's."""
    return asyncio.get_running_loop().run_in_executor(THREADS, work)
