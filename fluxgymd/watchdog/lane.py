# SPDX-License-Identifier: Apache-2.0
"""Work that may hang: one piece at a time, each waited for until a deadline.

While a piece hangs no other is begun, so a volume that is gone holds one thread of a job, and not one more at each
look. The thread is no part of a pool: one that never ends keeps neither other work nor the daemon's own end waiting.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    def __init__(self, *, deadline_seconds: float) -> None:
        self._deadline = deadline_seconds
        self._under_way: asyncio.Future[T] | None = None

    async def run(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """The result. None: it is not there by the deadline, or the piece before still hangs."""
        if self._under_way is not None and not self._under_way.done():
            return None
        self._under_way = asyncio.ensure_future(work())
        done, _ = await asyncio.wait({self._under_way}, timeout=self._deadline)
        return self._under_way.result() if done else None

    def close(self) -> None:
        if self._under_way is not None:
            self._under_way.cancel()


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Runs blocking work in a thread of its own. An exception of it is the future's."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - it is the caller's
            error = raised
        with suppress(RuntimeError):  # the loop is closed: the daemon has ended meanwhile
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, name="look", daemon=True).start()
    return future
