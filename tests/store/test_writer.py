# SPDX-License-Identifier: Apache-2.0
"""Disk work outside the event loop: a hung disk delays only its own job, and it is known for how long a write has
made no progress."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fluxgymd.store.writer import Writer
from tests.harness.waiting import DEADLINE_SECONDS, until

HUNG = 40
"""More than the number of threads that a pool for all jobs would have on this machine."""


def stands(writer: Writer) -> float:
    return writer.longest_stand() or 0.0


def test_the_result_or_the_error_comes_back() -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    async def scenario() -> None:
        writer = Writer()
        assert await writer.run(lambda: 5) == 5
        with pytest.raises(OSError, match="No space left"):
            await writer.run(fail)
        assert writer.longest_stand() is None
        writer.close()

    asyncio.run(scenario())


def test_a_write_that_hangs_delays_nobody_else_and_its_duration_is_reported() -> None:
    release = threading.Event()

    async def scenario() -> None:
        writer = Writer()
        late = asyncio.create_task(writer.run(lambda: release.wait(DEADLINE_SECONDS)))
        await asyncio.to_thread(until, lambda: stands(writer) > 0.05, what="the write to stand")
        assert await writer.run(lambda: "at once") == "at once"
        later = asyncio.create_task(writer.run(lambda: release.wait(DEADLINE_SECONDS)))
        await asyncio.sleep(0)
        assert stands(writer) > 0.05  # counts from the oldest write, not the newest
        assert not late.done()
        release.set()
        assert all(await asyncio.gather(late, later))
        assert writer.longest_stand() is None
        writer.close()

    asyncio.run(scenario())


def test_slow_work_that_advances_is_not_stalled() -> None:
    """Such as the removal of a large job, which accesses the disk again and again."""
    go_on, moved = threading.Semaphore(0), threading.Semaphore(0)

    def work() -> None:
        for _ in range(3):
            assert go_on.acquire(timeout=DEADLINE_SECONDS)
            moved.release()
        assert go_on.acquire(timeout=DEADLINE_SECONDS)

    async def scenario() -> None:
        writer = Writer()
        task = asyncio.create_task(writer.run(work))
        for _ in range(3):
            await asyncio.to_thread(until, lambda: stands(writer) > 0.05, what="the work to stand")
            before = stands(writer)
            go_on.release()
            assert await asyncio.to_thread(moved.acquire, timeout=DEADLINE_SECONDS)
            await asyncio.to_thread(until, lambda before=before: stands(writer) < before, what="the move to be seen")
        go_on.release()
        await task
        assert writer.longest_stand() is None
        writer.close()

    asyncio.run(scenario())


def test_promise_10_however_many_writes_hang_the_next_one_is_done_at_once() -> None:
    release = threading.Event()

    async def scenario() -> None:
        writer = Writer()
        hung = [asyncio.create_task(writer.run(lambda: release.wait(DEADLINE_SECONDS))) for _ in range(HUNG)]
        await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await writer.run(lambda: "at once") == "at once"
        assert not any(one.done() for one in hung)
        release.set()
        await asyncio.gather(*hung)
        writer.close()

    asyncio.run(scenario())


def test_a_process_exits_although_a_write_hangs(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = f"""
import asyncio
from pathlib import Path
from fluxgymd.background import lanes
from fluxgymd.store.writer import Writer

lanes.LEAVE_SECONDS = 0.1

async def main():
    writer = Writer()
    asyncio.create_task(writer.run(Path({str(pipe)!r}).read_bytes))
    await asyncio.sleep(0)
    await writer.run(lambda: print("here"))
    writer.close()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    assert (done.stdout, done.stderr) == ("here\n", "")


def test_work_is_finished_although_nobody_waits_for_it() -> None:
    begun, release, written = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(DEADLINE_SECONDS)
        written.set()

    async def scenario() -> None:
        writer = Writer()
        caller = asyncio.create_task(writer.run(work))
        await asyncio.to_thread(begun.wait, 60)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert writer.longest_stand() is not None  # the work is still under way
        release.set()
        assert await asyncio.to_thread(written.wait, 60)
        writer.close()

    asyncio.run(scenario())
