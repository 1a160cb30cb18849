# SPDX-License-Identifier: Apache-2.0
"""A clock that moves only when there is nothing left to do, and an event loop that runs by it.

Everything happens in one thread, without real waiting and without its own source of chance: the same rules give the
same run, to the last callback. Work meant for a thread is done by the loop itself after a drawn delay, so the daemon
can die before that work, or between the work and its result.
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
    """Replaces the module `time` in the daemon. It has two clocks, of which the wall clock can be set."""

    def __init__(self) -> None:
        self.now = 1000.0
        """The monotonic clock, in seconds."""
        self.ahead = 1_700_000_000.0
        """The lead of the wall clock over the monotonic clock, in seconds."""

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        self.ahead += TICK  # events never share a time, so no random id has to break a tie
        return self.now + self.ahead

    @staticmethod
    def strftime(form: str) -> str:
        return time.strftime(form, time.gmtime(0))


class Died(BaseException):
    """This work is never done, because the process has died."""


class _NeverWaits(selectors.SelectSelector):
    """A selector that never waits. When asked to wait, it lets `idle` decide what happens instead."""

    def __init__(self) -> None:
        super().__init__()
        self.idle: Callable[[float | None], None] = lambda _: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.idle(timeout)
        return []


class Loop(asyncio.SelectorEventLoop):
    """The event loop of one life of the daemon."""

    def __init__(self, clock: Clock, chance: Random, world_moves: Callable[[float], float]) -> None:
        """`world_moves(until)`: lets the rest of the world act until this time at the latest, and returns the time
        reached, which is earlier if something happened."""
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
        """Runs this many turns of the loop, which is about as many awaits in each task."""
        left = steps

        def enough() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        self._run(enough, limit=float("inf"))

    def run_for(self, seconds: float) -> None:
        self._run(lambda: False, limit=seconds)

    def run_while(self, condition: Callable[[], bool], *, limit: float) -> bool:
        """Runs while the condition is true. Returns whether that ended within the limit, in seconds of the clock."""
        self._run(lambda: not condition(), limit=limit)
        return not condition()

    def run_to_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs work that ends without help; returns its result."""
        task = self.create_task(work)
        assert self.run_while(lambda: not task.done(), limit=60.0), f"{work} does not end"
        return task.result()

    async def pause(self, seconds: float) -> None:
        """Waits for this many seconds of the clock."""
        over = self.create_future()
        self.call_later(seconds, self._deliver, over, None, None)  # does nothing if the waiter was cancelled
        await over

    def die(self) -> None:
        """kill -9: from here on, nothing that this daemon had begun is carried out."""
        self.dead = True
        tasks = [task for task in self._tasks if not task.done()]  # in order of creation, which asyncio does not keep
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
        except Exception as error:  # noqa: BLE001 - it is passed on to the waiter
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
        """Runs once in each turn, before its callbacks. `timeout`: seconds until the next one, or None."""
        if self.dead:
            self._world_clock.now += timeout or 0.0
        elif self._enough() or self._world_clock.now >= self._end:
            self.stop()
        elif timeout is None or timeout > 0:
            due = self._end if timeout is None else min(self._end, self._world_clock.now + timeout)
            self._world_clock.now = self._world_moves(due)

    def _note_fault(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        refused = isinstance(context.get("exception"), FluxgymError)  # a refusal whose caller was cancelled
        if not self.dead and not refused:
            self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")
