# SPDX-License-Identifier: Apache-2.0
"""Disk work off the event loop: a hung disk delays its own job, and its age is known."""

import asyncio
import threading

import pytest

from fluxgymd.store.writer import Writer


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
    hung, release = threading.Event(), threading.Event()

    def hang() -> str:
        hung.set()
        release.wait(60)
        return "late"

    async def scenario() -> None:
        writer = Writer()
        late = asyncio.create_task(writer.run(hang))
        await asyncio.to_thread(hung.wait, 60)
        assert await writer.run(lambda: "at once") == "at once"
        first = writer.oldest_age()
        await writer.run(lambda: None)
        assert writer.oldest_age() > first > 0  # of the oldest, not of the last
        assert not late.done()
        release.set()
        assert await late == "late"
        assert writer.oldest_age() == 0.0
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
