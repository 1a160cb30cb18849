# SPDX-License-Identifier: Apache-2.0
"""Tests of the daemon's long tasks: one that fails is restarted and reported; one that fails often stops the
heartbeat."""

import asyncio
import logging

import pytest

from fluxgymd.background import tasks
from fluxgymd.background.tasks import OFTEN, LongTasks
from tests.harness.waiting import DEADLINE_SECONDS, forever, until_async


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "PAUSES", (0.0,))


class Work:
    """A task that fails this many times and then runs forever."""

    def __init__(self, failures: int) -> None:
        self.left = failures
        self.begun = asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        if self.left:
            self.left -= 1
            raise ValueError("no such thing")
        self.begun.set()
        try:
            await forever()
        finally:
            self.ended = True


@pytest.mark.parametrize("failures", [0, 1, OFTEN - 1, OFTEN, OFTEN + 2])
def test_a_task_that_fails_is_restarted_and_reported(failures: int, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        work, long = Work(failures), LongTasks()
        long.start("gpus", work.run)
        await asyncio.wait_for(work.begun.wait(), DEADLINE_SECONDS)
        told = [
            "The daemon's task gpus has failed (ValueError: no such thing) and was restarted; see the daemon's log."
        ]
        assert long.problems() == (told if failures else [])
        assert long.failing() == (["gpus"] if failures >= OFTEN else [])
        await long.close()
        assert work.ended

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    logged = [record for record in caplog.records if record.message == "the task gpus failed; it is being restarted"]
    assert len(logged) == failures
    assert all(record.exc_info for record in logged)


def test_an_old_failure_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        work, long = Work(OFTEN), LongTasks()
        long.start("gpus", work.run)
        await asyncio.wait_for(work.begun.wait(), DEADLINE_SECONDS)
        monkeypatch.setattr(tasks, "STEADY_SECONDS", 0.0)
        assert long.problems() == long.failing() == []
        await long.close()

    asyncio.run(scenario())


def test_a_task_that_has_finished_is_not_restarted() -> None:
    begun: list[str] = []

    async def once() -> None:
        begun.append("once")

    async def scenario() -> None:
        long = LongTasks()
        long.start("owner", once)

        async def over() -> bool:
            return all(task.done() for task in long._tasks)

        await until_async(over, what="the task to end")
        assert long.problems() == []
        await long.close()

    asyncio.run(scenario())
    assert begun == ["once"]
