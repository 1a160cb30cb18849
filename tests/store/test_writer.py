# SPDX-License-Identifier: Apache-2.0
"""Disk work off the event loop: a hung disk delays its own job, and its age is known."""

import asyncio
import threading

import pytest

from fluxgymd.store.writer import THREADS, Writer
from tests.harness.waiting import until


def test_the_result_or_the_error_comes_back() -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    async def scenario() -> None:
        writer = Writer()
        assert await writer.run(lambda: 5) == 5
        with pytest.raises(OSError, match="No space left"):
            await writer.run(fail)
        assert writer.oldest_age() == 0.0
        writer.close()

    asyncio.run(scenario())


def test_a_write_that_hangs_delays_nobody_else_and_its_age_is_told() -> None:
    release = threading.Event()

    async def scenario() -> None:
        writer = Writer()
        late = asyncio.create_task(writer.run(lambda: release.wait(60)))
        await asyncio.to_thread(until, lambda: writer.oldest_age() > 0.05, what="the write to grow old")
        assert await writer.run(lambda: "at once") == "at once"
        later = asyncio.create_task(writer.run(lambda: release.wait(60)))
        await asyncio.sleep(0)
        assert writer.oldest_age() > 0.05  # of the oldest, not of the last
        assert not late.done()
        release.set()
        assert all(await asyncio.gather(late, later))
        assert writer.oldest_age() == 0.0
        writer.close()

    asyncio.run(scenario())


def test_work_that_waits_for_a_thread_is_done_also_when_nobody_waits_for_it_any_more() -> None:
    release, written = threading.Event(), threading.Event()

    async def scenario() -> None:
        writer = Writer()
        hung = [asyncio.create_task(writer.run(lambda: release.wait(60))) for _ in range(THREADS)]
        await asyncio.sleep(0)
        caller = asyncio.create_task(writer.run(written.set))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert not written.is_set()
        release.set()
        assert await asyncio.to_thread(written.wait, 60)
        await asyncio.gather(*hung)
        writer.close()

    asyncio.run(scenario())


def test_work_goes_on_to_its_end_when_nobody_waits_for_it_any_more() -> None:
    begun, release, written = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(60)
        written.set()

    async def scenario() -> None:
        writer = Writer()
        caller = asyncio.create_task(writer.run(work))
        await asyncio.to_thread(begun.wait, 60)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert writer.oldest_age() > 0  # it is still under way
        release.set()
        assert await asyncio.to_thread(written.wait, 60)
        writer.close()

    asyncio.run(scenario())
