# SPDX-License-Identifier: Apache-2.0
"""Runs blocking work in threads, with a lane for each job: a volume that hangs delays only the jobs whose files are
on it (promise 10).

asyncio.to_thread has one small pool for everything: on a machine with two cores, six reads of a file that hangs stop
all jobs. A lane has a few threads; if they are taken, further work waits in that lane for a turn (turns.py). The
threads are daemon threads, so one that hangs does not keep the process from exiting.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from fluxgym.errors import StorageFailed
from fluxgymd.background import limits
from fluxgymd.background.turns import Turns

P = ParamSpec("P")
T = TypeVar("T")

LANE_THREADS = 4
"""More than the watch of a job uses at a time."""
CLIENT_THREADS = limits.share(128, 8)
"""The threads that work for clients at a time in all lanes together. Each may open a file."""
PATIENCE_SECONDS = 30.0
"""How long a client waits for a disk. Listing many checkpoints on a slow volume takes seconds."""
answer_by: ContextVar[float | None] = ContextVar("answer_by", default=None)
"""For the work in a thread: when its client gives up (time.monotonic). None: the work has no deadline."""
IDLE_SECONDS = 60.0
LEAVE_SECONDS = 5.0


class NoAnswer(OSError):
    """The work found nothing out in the time that it had, and may be tried again. `filename`: the file that was
    examined; `strerror`: a clause that says why."""


class DaemonThreads(Executor):
    """An executor with as many threads as pieces of work. Idle threads are reused, and end after IDLE_SECONDS."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._under_way: set[Future[Any]] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._serve, name="lane", daemon=True).start()
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        self._queue.put((future, partial(fn, *args, **kwargs)))
        return future

    def leave(self) -> None:
        """Gives the current work up to LEAVE_SECONDS to finish before the process ends."""
        wait(tuple(self._under_way), LEAVE_SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                future, work = self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                if self._idle.acquire(blocking=False):
                    return
                continue  # `submit` has just reserved this thread for its work
            _do(future, work)
            del future, work  # so that an idle thread keeps nothing alive
            self._idle.release()


def _do(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - the future raises it
        future.set_exception(error)
    else:
        future.set_result(result)


THREADS = DaemonThreads()


class _Lanes:
    def __init__(self) -> None:
        self._lanes: dict[tuple[str, str], Turns] = {}

    async def enter(self, kind: str, name: str, places: int) -> Callable[[], None]:
        """Waits for a place in a lane. Returns the function that leaves the lane."""
        lane = self._lanes.setdefault((kind, name), Turns(places))
        try:
            give_back = await lane.enter()
        except asyncio.CancelledError:
            self._tidy(kind, name, lane)
            raise

        def leave() -> None:
            give_back()
            self._tidy(kind, name, lane)

        return leave

    def _tidy(self, kind: str, name: str, lane: Turns) -> None:
        if lane.idle:
            self._lanes.pop((kind, name), None)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Lanes] = WeakKeyDictionary()


async def run(lane: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of the work, or its exception, however long it takes. `lane`: usually the name of a job."""
    leave = await _here().enter("engine", lane, LANE_THREADS)
    return await _run([leave], partial(work, *args, **kwargs), until=None)


async def answer(lane: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for a client. Raises StorageFailed, which names the lane or the file, if the work takes longer than
    PATIENCE_SECONDS or raises NoAnswer. The work continues and keeps its place until it is done."""
    left: list[Callable[[], None]] = []
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            left.append(await _here().enter("client", lane, LANE_THREADS))
            left.append(await _here().enter("clients", "", CLIENT_THREADS))
            leaving, left = left, []
            return await _run(leaving, partial(work, *args, **kwargs), until=until)
    except NoAnswer as error:
        raise StorageFailed(f"{error.filename} could not be examined: {error.strerror}.") from None
    except TimeoutError:
        raise StorageFailed(
            f"The disk did not answer within {PATIENCE_SECONDS:g} s: {lane}; its volume may be hanging."
        ) from None
    finally:
        for leave in left:
            leave()


def _here() -> _Lanes:
    return _of_loops.setdefault(asyncio.get_running_loop(), _Lanes())


async def _run(leaving: list[Callable[[], None]], work: Callable[[], T], *, until: float | None) -> T:
    def done(future: "asyncio.Future[T] | None" = None) -> None:
        if future is not None and not future.cancelled():
            future.exception()  # marks it as retrieved, since the caller may be gone
        for leave in leaving:
            leave()

    context = copy_context()  # so that the thread knows for which client it works
    context.run(answer_by.set, until)
    try:
        future = asyncio.get_running_loop().run_in_executor(THREADS, partial(context.run, work))
    except RuntimeError:  # no thread could be started
        done()
        raise
    future.add_done_callback(done)
    return await asyncio.shield(future)
