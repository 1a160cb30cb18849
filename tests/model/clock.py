# SPDX-License-Identifier: Apache-2.0
"""A clock that moves only when nothing is left to do, and an event loop that runs by it.

One thread, no waiting, no chance of its own: the same rules give the same run, to the last callback. Work that is
meant for a thread is done by the loop itself after a drawn delay, so the daemon can die before it, and between it and
its result.
"""

import asyncio
import selectors
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from random import Random
from typing import Any, TypeVar

from fluxgym.errors import FluxgymError

T = TypeVar("T")

TICK = 1e-6


class Clock:
    """Stands for the module `time` in the engine: two clocks, of which the wall's can be set."""

    def __init__(self) -> None:
        self.now = 1000.0
        """Seconds, monotonic."""
        self.ahead = 1_700_000_000.0
        """How far the wall clock is ahead of that."""

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        self.ahead += TICK  # no two events have the same time, so no tie is left to a random id
        return self.now + self.ahead

    @staticmethod
    def strftime(form: str) -> str:
        return time.strftime(form, time.gmtime(0))


class Died(BaseException):
    """The process is gone in the middle of this work."""


class _NeverWaits(selectors.SelectSelector):
    """Asked how long to wait, it says what is to happen instead."""

    def __init__(self) -> None:
        super().__init__()
        self.idle: Callable[[float | None], None] = lambda _: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.idle(timeout)
        return []


class Loop(asyncio.SelectorEventLoop):
    """The event loop of one life of the daemon."""

    def __init__(self, clock: Clock, chance: Random, world_moves: Callable[[float], float]) -> None:
        """`world_moves(until)`: lets the rest of the world act up to a time, and tells when it stopped: at that time,
        or earlier because something happened."""
        selector = _NeverWaits()
        super().__init__(selector)
        selector.idle = self._idle
        self._world_clock = clock
        self._chance = chance
        self._world_moves = world_moves
        self._enough: Callable[[], bool] = lambda: True
        self._end = clock.now
        self.dead = False
        self.faults: list[str] = []
        self.set_exception_handler(self._note_fault)
        self._tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], None] = weakref.WeakKeyDictionary()
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._world_clock.now

    def run_steps(self, steps: int) -> None:
        """So many turns of the loop: about as many awaits of each task."""
        left = steps

        def enough() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        self._run(enough, limit=float("inf"))

    def run_for(self, seconds: float) -> None:
        self._run(lambda: False, limit=seconds)

    def run_while(self, condition: Callable[[], bool], *, limit: float) -> bool:
        """Whether the condition ended before the limit, in seconds of the clock."""
        self._run(lambda: not condition(), limit=limit)
        return not condition()

    def run_to_end(self, work: Coroutine[Any, Any, T]) -> T:
        """For work that ends by itself."""
        task = self.create_task(work)
        assert self.run_while(lambda: not task.done(), limit=60.0), f"{work} does not end"
        return task.result()

    async def pause(self, seconds: float) -> None:
        """Lets this much of the clock's time pass."""
        over = asyncio.Event()
        self.call_later(seconds, over.set)
        await over.wait()

    def die(self) -> None:
        """kill -9: from here on nothing that this daemon wanted is done any more."""
        self.dead = True
        tasks = [task for task in self._tasks if not task.done()]  # in their order, which asyncio does not know
        for task in tasks:
            task.cancel()
        self._enough, self._end = lambda: False, float("inf")
        if tasks:
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.close()

    def _make_task(self, _: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        task = asyncio.Task(work, loop=self, **options)
        self._tasks[task] = None
        return task

    def run_in_executor(  # type: ignore[override] # the loop's own type has a variadic generic
        self, _: Executor | None, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self.create_future()
        if self.dead:
            future.set_exception(Died())
        else:
            self.call_later(self._chance.choice((0.0, 0.001, 0.02, 0.2)), self._work, future, func, args)
        return future

    def _work(self, future: "asyncio.Future[T]", func: Callable[..., T], args: tuple[Any, ...]) -> None:
        if self.dead:
            return
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for it
            self.call_soon(self._deliver, future, None, error)
        else:
            self.call_soon(self._deliver, future, result, None)

    @staticmethod
    def _deliver(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def _run(self, enough: Callable[[], bool], *, limit: float) -> None:
        self._enough, self._end = enough, self._world_clock.now + limit
        self.run_forever()

    def _idle(self, timeout: float | None) -> None:
        """Once in each turn, before its callbacks. `timeout`: until the next one is due; None: there is none."""
        if self.dead:
            self._world_clock.now += timeout or 0.0
        elif self._enough() or self._world_clock.now >= self._end:
            self.stop()
        elif timeout is None or timeout > 0:
            due = self._end if timeout is None else min(self._end, self._world_clock.now + timeout)
            self._world_clock.now = self._world_moves(due)

    def _note_fault(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        refused = isinstance(context.get("exception"), FluxgymError)  # and who asked was cancelled meanwhile
        if not self.dead and not refused:
            self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")
