# SPDX-License-Identifier: Apache-2.0
"""The longest turn of the event loop is known and is forgotten after a while. Waiting is not part of a turn."""

import asyncio
import selectors
import time

import pytest

from fluxgymd.host import lateness
from fluxgymd.host.lateness import WINDOW_SECONDS, WatchedSelector


def test_a_turn_of_a_real_loop_is_reported_while_it_lasts_and_afterwards() -> None:
    selector = WatchedSelector()

    async def scenario() -> None:
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            pass
        assert selector.longest() >= 0.2
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert selector.longest() >= 0.2

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(scenario())


class Clock:
    """A clock that only the test advances, also while the selector waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lateness, "time", clock)

    def wait(_: object, timeout: float) -> list[object]:
        clock.now += timeout
        return []

    monkeypatch.setattr(selectors.DefaultSelector, "select", wait)
    return clock


def test_a_wait_is_not_a_turn(clock: Clock) -> None:
    with WatchedSelector() as selector:
        selector.select(5)
        clock.now += 0.1
        selector.select(3)
        assert selector.longest() == pytest.approx(0.1)


def test_a_long_turn_is_forgotten_after_two_windows(clock: Clock) -> None:
    with WatchedSelector() as selector:
        clock.now += 3
        selector.select(0)
        told = []
        for _ in range(5):
            selector.select(WINDOW_SECONDS / 2)
            told.append(selector.longest())
    assert told == [3, 3, 3, 0, 0]
