# SPDX-License-Identifier: Apache-2.0
"""Tests of Turns: a client that asks for many places does not make a client wait that asks for one."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fluxgym.errors import Overloaded
from fluxgymd.background.turns import DAEMON, MOST_WAITING, Client, Turns, client
from tests.harness.waiting import DEADLINE_SECONDS, until_async

GREEDY, HONEST = 1, 2


class Queue:
    """Asks for turns on behalf of clients, and records in order which clients get one."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.given: list[Client] = []
        self._leave: dict[Client, list[Callable[[], None]]] = {}

    def ask(self, *clients: Client) -> list["asyncio.Task[None]"]:
        return [asyncio.create_task(self._enter(one)) for one in clients]

    def end(self, one: Client) -> None:
        """Ends one of this client's turns."""
        self._leave[one].pop()()

    async def _enter(self, whose: Client) -> None:
        client.set(whose)
        leave = await self.turns.enter()
        self._leave.setdefault(whose, []).append(leave)
        self.given.append(whose)

    async def settle(self) -> None:
        """Lets every task run until it has to wait."""
        for _ in range(4):
            await asyncio.sleep(0)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_SECONDS))


def test_promise_10_thirty_turns_of_one_session_leave_a_place_for_another() -> None:
    async def scenario() -> None:
        queue = Queue(4)
        asked = queue.ask(*[(GREEDY, process, process) for process in range(30)])
        await queue.settle()
        assert len(queue.given) == 2  # a client never holds more places than it leaves free
        (honest,) = queue.ask((HONEST, 99, 99))
        await honest
        assert queue.given[-1] == (HONEST, 99, 99)
        # When it ends, the first client may use as many places as before, and in the end each request gets a turn.
        queue.end((HONEST, 99, 99))
        while not all(one.done() for one in asked):
            queue.end(next(one for one in queue.given if queue._leave[one]))
            await queue.settle()
        assert sorted(queue.given)[:-1] == sorted((GREEDY, process, process) for process in range(30))

    run(scenario)


def test_within_a_session_another_process_is_next_and_within_a_process_another_connection() -> None:
    async def scenario() -> None:
        queue = Queue(1)
        queue.ask((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 2), (1, 2, 3))
        for _ in range(4):
            await queue.settle()
            queue.end(queue.given[-1])
        await queue.settle()
        assert queue.given == [(1, 1, 1), (1, 2, 3), (1, 1, 2), (1, 1, 1), (1, 1, 1)]

    run(scenario)


def test_among_equals_the_one_served_longest_ago_is_next() -> None:
    async def scenario() -> None:
        queue = Queue(1)
        queue.ask(*[(session, 0, 0) for session in (1, 1, 1, 2, 2, 3)])
        for _ in range(5):
            await queue.settle()
            queue.end(queue.given[-1])
        await queue.settle()
        assert [session for session, *_ in queue.given] == [1, 2, 3, 1, 2, 1]

    run(scenario)


def test_promise_10_no_client_delays_the_daemon_itself() -> None:
    async def scenario() -> None:
        queue = Queue(2)
        queue.ask(*[(session, 0, 0) for session in range(1, 9)])
        await queue.settle()
        assert len(queue.given) == 2
        queue.ask(DAEMON, DAEMON, DAEMON)
        await queue.settle()
        assert queue.given.count(DAEMON) == 2  # the number of the daemon's own places is also bounded

    run(scenario)


def test_a_turn_that_is_no_longer_wanted_is_forgotten_completely() -> None:
    async def scenario() -> None:
        queue = Queue(1)
        first, *others = queue.ask((1, 1, 1), (2, 2, 2), (2, 2, 3), (3, 3, 4))
        await first
        for one in others[:2]:
            one.cancel()
        await until_async(lambda: _done(others[:2]), what="those that gave up to leave")
        queue.end((1, 1, 1))
        # This one gives up just as it gets its turn.
        others[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await others[2]
        assert queue.turns.idle
        assert not queue.turns._served
        (last,) = queue.ask((1, 1, 1))
        await last

    run(scenario)


async def _done(tasks: list["asyncio.Task[None]"]) -> bool:
    await asyncio.sleep(0)
    return all(task.done() for task in tasks)


def test_promise_10_calls_waiting_for_a_turn_cannot_pile_up() -> None:
    """No other limit counts the calls of clients that have hung up."""

    async def scenario() -> None:
        queue = Queue(2)
        asked = queue.ask(*[(GREEDY, process, process) for process in range(MOST_WAITING + 2)])
        await queue.settle()
        (refused,) = [one for one in asked if one.done() and one.exception()]
        assert isinstance(refused.exception(), Overloaded)
        (honest,) = queue.ask((HONEST, 99, 99))
        await honest

    run(scenario)
