# SPDX-License-Identifier: Apache-2.0
"""Tests of lanes: work that hangs on a file delays only its own lane. The file that hangs is a pipe."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from fluxgym.errors import StorageFailed
from fluxgymd.background import lanes
from tests.harness.waiting import DEADLINE_SECONDS, until_async

HUNG = 40
"""More threads than a shared pool would have on this machine."""


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe. A reader blocks in open(2) until a writer opens it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


async def until_all(work: list["asyncio.Task[bytes]"], pipe: Path) -> None:
    """Opens the pipe repeatedly until this work is done. Each time, the readers that block in open(2) continue."""

    async def done() -> bool:
        descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        await asyncio.sleep(0)
        os.close(descriptor)
        return all(one.done() for one in work)

    await until_async(done, what="the reads to end")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, DEADLINE_SECONDS))


@pytest.mark.parametrize("way", [lanes.run, lanes.answer])
def test_promise_10_work_that_hangs_in_one_lane_delays_no_other(way: Any, pipe: Path) -> None:
    begun: list[int] = []

    def read() -> bytes:
        begun.append(threading.get_ident())
        return pipe.read_bytes()

    async def scenario() -> None:
        hung = [asyncio.create_task(way("hung", read)) for _ in range(HUNG)]
        await asyncio.sleep(0)
        assert (
            await asyncio.gather(*(way(f"job-{number}", os.getpid) for number in range(HUNG))) == [os.getpid()] * HUNG
        )
        assert len(begun) <= lanes.LANE_THREADS < HUNG  # the hung reads occupy only their own lane
        assert not any(one.done() for one in hung)
        await until_all(hung, pipe)

    run(scenario())


def test_a_client_is_told_that_the_disk_does_not_answer(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PATIENCE_SECONDS", 0.1)

    async def scenario() -> None:
        asked = [lanes.answer("/outputs/my-lora", pipe.read_bytes) for _ in range(2 * lanes.LANE_THREADS)]
        for told in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(told, StorageFailed)
            assert told.message == (
                "The disk did not answer within 0.1 s: /outputs/my-lora; its volume may be hanging."
            )
        # The daemon's own work on that job does not compete for these places.
        assert await lanes.run("/outputs/my-lora", os.getpid) == os.getpid()
        # A call that gave up has left the queue, so places are free as soon as the disk answers.
        monkeypatch.setattr(lanes, "PATIENCE_SECONDS", 60.0)
        later = asyncio.create_task(lanes.answer("/outputs/my-lora", lambda: b"at last"))
        await until_all([later], pipe)
        assert later.result() == b"at last"

    run(scenario())


def test_the_work_in_progress_of_all_clients_together_is_bounded(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "CLIENT_THREADS", 3)

    async def scenario() -> None:
        before = threading.active_count()
        hung = [asyncio.create_task(lanes.answer(f"job-{number}", pipe.read_bytes)) for number in range(HUNG)]
        assert await lanes.run("job-0", os.getpid) == os.getpid()
        assert threading.active_count() <= before + 3 + 1
        await until_all(hung, pipe)

    run(scenario())


def test_an_exception_reaches_the_caller_and_frees_the_place() -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    async def scenario() -> None:
        for _ in range(2 * lanes.LANE_THREADS):
            with pytest.raises(OSError, match="Input/output error"):
                await lanes.run("my-lora", fail)
        assert not lanes._here()._lanes

    run(scenario())


def test_a_caller_cancelled_in_the_queue_or_at_work_frees_its_place(pipe: Path) -> None:
    async def scenario() -> None:
        asked = [asyncio.create_task(lanes.run("my-lora", pipe.read_bytes)) for _ in range(2 * lanes.LANE_THREADS)]
        await asyncio.sleep(0)
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        later = asyncio.create_task(lanes.run("my-lora", lambda: b"done"))
        await until_all([later], pipe)

    run(scenario())


def test_a_process_exits_although_a_thread_of_it_hangs(pipe: Path) -> None:
    program = f"""
import asyncio
from pathlib import Path
from fluxgymd.background import lanes

lanes.LEAVE_SECONDS = 0.1

async def main():
    asyncio.create_task(lanes.run("my-lora", Path({str(pipe)!r}).read_bytes))
    await asyncio.sleep(0)
    await lanes.run("other", print, "here")

asyncio.run(main())
lanes.THREADS.leave()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    assert (done.stdout, done.stderr) == ("here\n", "")
