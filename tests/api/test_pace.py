# SPDX-License-Identifier: Apache-2.0
"""Clients that always have more work leave enough of the event loop to the others."""

import asyncio

import pytest

from fluxgymd.api import pace as pace_module
from fluxgymd.api.pace import STEPS, TURN_SECONDS, Pace
from tests.harness.waiting import DEADLINE_SECONDS


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_module, "time", clock)
    return clock


@pytest.mark.parametrize("clients", [1, 3, 200])
def test_busy_clients_take_a_bounded_part_of_each_turn(clock: Clock, clients: int) -> None:
    """The clients do nothing else, and a step costs a hundredth of the time that they may take."""
    cost = TURN_SECONDS / 100

    async def scenario() -> float:
        pace = Pace()

        async def client() -> None:
            while True:
                await pace.step()
                clock.now += cost

        tasks = [asyncio.create_task(client()) for _ in range(clients)]
        longest = 0.0
        for _ in range(300):
            before = clock.now
            await asyncio.sleep(0)
            longest = max(longest, clock.now - before)
        assert clock.now > 200 * cost  # and yet they are always served
        for task in tasks:
            task.cancel()
        return longest

    # The clients may have two turns between two looks of the other task.
    assert asyncio.run(scenario()) <= 2 * (TURN_SECONDS + STEPS * cost) + 2 * cost


def test_a_client_that_leaves_while_it_waits_delays_nobody(clock: Clock) -> None:
    async def scenario() -> None:
        pace = Pace()
        await pace.step()
        clock.now += 1
        leaving, staying = (asyncio.create_task(pace.step()) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await staying

    asyncio.run(scenario())


def test_all_get_their_turn(clock: Clock) -> None:
    async def scenario() -> list[int]:
        pace = Pace()
        steps = [0] * 20

        async def client(index: int) -> None:
            while True:
                await pace.step()
                clock.now += TURN_SECONDS / 2
                steps[index] += 1

        clients = [asyncio.create_task(client(index)) for index in range(20)]
        for _ in range(400):
            await asyncio.sleep(0)
        for task in clients:
            task.cancel()
        return steps

    steps = asyncio.run(scenario())
    assert max(steps) <= 2 * min(steps)
