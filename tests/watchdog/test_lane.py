# SPDX-License-Identifier: Apache-2.0
"""Tests of Lane: a caller waits for hung work until a deadline, and the work holds one thread however often it is
retried."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from fluxgymd.watchdog.lane import Lane, in_thread
from tests.harness.hung_volume import HungVolume
from tests.harness.waiting import DEADLINE_SECONDS, until_async


def test_the_result_is_that_of_the_work_and_a_failure_is_unknown(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        lane = Lane[int](deadline_seconds=60)
        assert await lane.run(lambda: in_thread(lambda: 7)) == 7
        assert await lane.run(lambda: in_thread(lambda: Path("/no/such/file").stat().st_size)) is None
        assert "FileNotFoundError" in caplog.text
        assert await lane.run(lambda: in_thread(lambda: 8)) == 8

    asyncio.run(scenario())


def test_a_hung_volume_blocks_one_thread_and_neither_the_loop_nor_its_end(tmp_path: Path) -> None:
    def look() -> int:
        return (tmp_path / "file").stat().st_size

    async def scenario() -> None:
        lane, other = Lane[int](deadline_seconds=0.1), Lane[int](deadline_seconds=60)
        before = threading.active_count()
        for _ in range(20):
            assert await lane.run(lambda: in_thread(look)) is None
        assert threading.active_count() <= before + 1
        assert await other.run(lambda: in_thread(lambda: 7)) == 7

    with HungVolume(tmp_path):
        asyncio.run(scenario())


def test_once_the_work_is_finished_the_lane_is_free(tmp_path: Path) -> None:
    release = threading.Event()

    async def scenario() -> None:
        lane = Lane[bool](deadline_seconds=0.05)
        assert await lane.run(lambda: in_thread(release.wait)) is None
        assert await lane.run(lambda: in_thread(release.wait)) is None
        release.set()

        async def is_free() -> bool | None:
            return await lane.run(lambda: in_thread(release.wait))

        await until_async(is_free, what="the lane to be free")

    asyncio.run(scenario())


def test_promise_7_a_result_after_its_deadline_belongs_to_the_next_look() -> None:
    """A volume on which each look takes longer than its deadline is slow, but it must not stay unknown forever."""
    gates = {7: threading.Event(), 8: threading.Event()}

    def slow(number: int) -> int:
        assert gates[number].wait(timeout=DEADLINE_SECONDS)
        return number

    async def scenario() -> None:
        lane = Lane[int](deadline_seconds=0.05)
        assert await lane.run(lambda: in_thread(lambda: slow(7))) is None
        gates[7].set()
        next_look = lambda: lane.run(lambda: in_thread(lambda: slow(8)))  # noqa: E731
        assert await until_async(next_look, what="what came late") == 7
        assert await lane.run(lambda: in_thread(lambda: slow(8))) is None, "it is told once"
        gates[8].set()
        assert await until_async(next_look, what="the next one") == 8

    asyncio.run(scenario())
