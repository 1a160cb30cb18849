# SPDX-License-Identifier: Apache-2.0
"""Blocking work in threads, that of each job in a lane of its own: a volume that hangs delays the job whose files lie
on it, and nobody else (promise 10; DESIGN: The journal).

asyncio.to_thread has one small pool for everything: six reads of a file that hangs stop all jobs of a machine with
two cores. A lane has a few threads, and who finds them taken waits in that lane. The threads are daemons: one that
hangs does not keep the process from leaving.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from functools import partial
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from fluxgym.errors import StorageFailed

P = ParamSpec("P")
T = TypeVar("T")

LANE_THREADS = 4
"""More than the watch of a job does at a time."""
CLIENT_THREADS = 128
"""What clients may have under way in all lanes together."""
PATIENCE_SECONDS = 30.0
"""How long a client waits for a disk. A look through many checkpoints on a slow volume takes seconds."""
IDLE_SECONDS = 60.0
LEAVE_SECONDS = 5.0


class DaemonThreads(Executor):
    """As many threads as there is work; an idle one is used again, and ends after a while."""

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
        """Before the process ends: what is under way gets a moment to come to its end."""
        wait(tuple(self._under_way), LEAVE_SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                future, work = self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                if self._idle.acquire(blocking=False):
                    return
                continue  # work was handed to this thread just now
            _do(future, work)
            del future, work  # a thread that waits keeps nothing alive
            self._idle.release()


def _do(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for it
        future.set_exception(error)
    else:
        future.set_result(result)


THREADS = DaemonThreads()


class _Lane:
    """So many places; who finds none waits, the first first."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._places = places
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def empty(self) -> bool:
        return self._free == self._places and not self._waiting

    async def enter(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(turn)
            else:
                self.leave()  # the place was given in the moment in which it was not wanted any more
            raise

    def leave(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                self._waiting.remove(turn)
                turn.set_result(None)
                return
        self._free += 1


class _Lanes:
    def __init__(self) -> None:
        self._lanes: dict[tuple[str, str], _Lane] = {}

    async def enter(self, kind: str, name: str, places: int) -> Callable[[], None]:
        """What leaves the lane again."""
        lane = self._lanes.setdefault((kind, name), _Lane(places))

        def leave() -> None:
            lane.leave()
            self._tidy(kind, name, lane)

        try:
            await lane.enter()
        except asyncio.CancelledError:
            self._tidy(kind, name, lane)
            raise
        return leave

    def _tidy(self, kind: str, name: str, lane: _Lane) -> None:
        if lane.empty:
            self._lanes.pop((kind, name), None)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Lanes] = WeakKeyDictionary()


async def run(lane: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of the work, or its exception, however long it takes: for the work of a job, by its name."""
    leave = await _here().enter("engine", lane, LANE_THREADS)
    return await _run([leave], partial(work, *args, **kwargs))


async def answer(lane: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for a client, who is told if it takes too long. StorageFailed names the lane; the work goes on, and
    keeps its place until it is done."""
    left: list[Callable[[], None]] = []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            left.append(await _here().enter("client", lane, LANE_THREADS))
            left.append(await _here().enter("clients", "", CLIENT_THREADS))
            leaving, left = left, []
            return await _run(leaving, partial(work, *args, **kwargs))
    except TimeoutError:
        raise StorageFailed(
            f"There was no answer from the disk within {PATIENCE_SECONDS:g} s: {lane}; its volume may hang."
        ) from None
    finally:
        for leave in left:
            leave()


def _here() -> _Lanes:
    return _of_loops.setdefault(asyncio.get_running_loop(), _Lanes())


async def _run(leaving: list[Callable[[], None]], work: Callable[[], T]) -> T:
    def done(future: "asyncio.Future[T] | None" = None) -> None:
        if future is not None and not future.cancelled():
            future.exception()  # who asked may be gone
        for leave in leaving:
            leave()

    try:
        future = asyncio.get_running_loop().run_in_executor(THREADS, work)
    except RuntimeError:  # the machine has no thread left for it
        done()
        raise
    future.add_done_callback(done)
    return await asyncio.shield(future)
