# SPDX-License-Identifier: Apache-2.0
"""The threads that write: a hung volume delays the job whose write hangs, and nobody else (DESIGN: The journal)."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fluxgymd.lanes import DaemonThreads

T = TypeVar("T")


@dataclass(slots=True)
class _Work:
    """Work that was handed in and is not done."""

    moved: float
    """When it was handed in, or seen to move last; monotonic seconds."""
    thread: int | None = None
    """The kernel's number of the thread that does it; None while it waits for one."""
    switches: int = 0
    """How often that thread was switched, when it was looked at last."""

    def look(self) -> None:
        if self.thread is not None and (switches := _switches(self.thread)) != self.switches:
            self.switches = switches
            self.moved = time.monotonic()


class Writer:
    """Runs blocking disk work off the event loop, and knows how long it has stood still."""

    def __init__(self) -> None:
        # As many as there are writes: each job has one under way, and those of other jobs are none of its business.
        self._threads = DaemonThreads()
        self._under_way: dict[int, _Work] = {}
        self._next = 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of the work, or its exception. The work goes on to its end even if the caller is cancelled:
        a half-written record would be worse than a late one."""
        number = self._next
        self._next += 1
        self._under_way[number] = noted = _Work(time.monotonic())

        def timed() -> T:
            noted.thread = threading.get_native_id()
            try:
                return work()
            finally:
                self._under_way.pop(number, None)

        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._threads, timed))

    def longest_stand(self) -> float | None:
        """Seconds for which the work that stands longest has not moved, as far as the looks at it tell: this is one.
        None if no work is under way.

        Work that takes long and moves, as the removal of a large job does, does not stand.
        """
        under_way = tuple(self._under_way.values())
        for work in under_way:
            work.look()
        return max((time.monotonic() - work.moved for work in under_way), default=None)

    def close(self) -> None:
        """Before the process ends: what is under way gets a moment; what hangs does not keep it."""
        self._threads.leave()


def _switches(thread: int) -> int:
    """How often a thread of ours went to sleep or was put aside (proc(5), status): it stands while that stands."""
    try:
        lines = Path(f"/proc/self/task/{thread}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches:" in line)
