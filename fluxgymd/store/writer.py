# SPDX-License-Identifier: Apache-2.0
"""The threads that write. A volume that hangs delays only the job whose write hangs."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fluxgymd.background.lanes import DaemonThreads

T = TypeVar("T")


@dataclass(slots=True)
class _Work:
    """Work that was submitted and is not done."""

    moved: float
    """When it was submitted, or last seen to make progress; monotonic seconds."""
    thread: int | None = None
    """The kernel's id of the thread that does it; None while it waits for a thread."""
    switches: int = 0
    """The thread's context switches at the last look."""

    def look(self) -> None:
        if self.thread is not None and (switches := _switches(self.thread)) != self.switches:
            self.switches = switches
            self.moved = time.monotonic()


class Writer:
    """Runs blocking disk work off the event loop, and measures for how long it has made no progress."""

    def __init__(self) -> None:
        # As many threads as writes: a job has one write at a time, and must not wait for those of other jobs.
        self._threads = DaemonThreads()
        self._under_way: dict[int, _Work] = {}
        self._next = 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of the work, or its exception. The work is completed even if the caller is cancelled: a
        half-written record would be worse than a late one."""
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
        """The longest time in seconds for which any current work has made no progress, as seen at the calls of this
        method; None if there is no work.

        Work that takes long but makes progress, such as removing a large job, does not count.
        """
        under_way = tuple(self._under_way.values())
        for work in under_way:
            work.look()
        return max((time.monotonic() - work.moved for work in under_way), default=None)

    def close(self) -> None:
        """Gives the current work a moment before the process ends. Work that hangs does not hold the process up."""
        self._threads.leave()


def _switches(thread: int) -> int:
    """The context switches of one of this process's threads (proc(5), status). While the number does not change, the
    thread makes no progress."""
    try:
        lines = Path(f"/proc/self/task/{thread}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches:" in line)
