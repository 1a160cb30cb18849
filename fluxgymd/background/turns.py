# SPDX-License-Identifier: Apache-2.0
"""Shares the places for long work fairly among clients: one client's slow calls never take another's turn
(promise 10; docs/decisions/0091-turns-among-clients.md).

A client is identified by three numbers, from wide to narrow: the session of the calling process (a terminal, a
service, a script), the process, and its connection. The next place goes to the waiting client that holds the fewest
places, compared in that order, and among equals to the one that was served longest ago. A session may not hold more
places than it leaves free, so a session without places gets one at once. The number of waiting calls per session is
bounded too, since some may be from clients that have disconnected.

The daemon has as many places for its own work, so no client delays it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from itertools import count

from fluxgym.errors import Overloaded

Client = tuple[int, ...]
"""Session, process and connection. Empty: the daemon itself."""

DAEMON: Client = ()
MOST_WAITING = 128
"""The most calls of one session that may wait for a place."""

client: ContextVar[Client] = ContextVar("client", default=DAEMON)
"""The client for which the current task works. Tasks that it starts work for the same client."""


class Turns:
    def __init__(self, places: int) -> None:
        self._places = places
        self._free = places  # for clients
        self._held: Counter[Client] = Counter()  # by each prefix of a client: session, process, connection
        self._served: dict[Client, int] = {}  # by prefix: the number of the last turn, while it holds or waits
        self._numbers = count()
        self._waiting: dict[asyncio.Future[None], Client] = {}  # in the order in which they came

    @property
    def idle(self) -> bool:
        """Whether no place is held or waited for."""
        return not self._held and not self._waiting

    async def enter(self) -> Callable[[], None]:
        """Waits for a place. Returns the function that gives it back. Raises Overloaded if too many calls of this
        session wait already."""
        whose = client.get()
        if whose and sum(other[:1] == whose[:1] for other in self._waiting.values()) >= MOST_WAITING:
            raise Overloaded(f"{MOST_WAITING} calls from this session are already waiting; try again later.")
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = whose
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.pop(turn, None)
                self._tidy(whose)
            else:
                self._leave(whose)  # the place was granted just before the cancellation
            raise
        return lambda: self._leave(whose)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Holds a place for the length of a `with` block."""
        leave = await self.enter()
        try:
            yield
        finally:
            leave()

    def _grant(self) -> None:
        """Gives free places to waiting calls that may have one, in order of rank."""
        while ready := [turn for turn, whose in self._waiting.items() if not turn.done() and self._may(whose)]:
            turn = min(ready, key=lambda turn: self._rank(self._waiting[turn]))
            whose = self._waiting.pop(turn)
            number = next(self._numbers)
            self._free -= whose != DAEMON
            for part in _parts(whose):
                self._held[part] += 1
                self._served[part] = number
            turn.set_result(None)

    def _may(self, whose: Client) -> bool:
        if whose == DAEMON:
            return self._held[DAEMON] < self._places
        return self._held[whose[:1]] < self._free

    def _rank(self, whose: Client) -> list[tuple[int, int]]:
        return [(self._held[part], self._served.get(part, -1)) for part in _parts(whose)]

    def _leave(self, whose: Client) -> None:
        self._free += whose != DAEMON
        for part in _parts(whose):
            self._held[part] -= 1
        self._tidy(whose)
        self._grant()

    def _tidy(self, whose: Client) -> None:
        """Forgets a client that neither holds nor waits for a place."""
        wanted = {part for waits in self._waiting.values() for part in _parts(waits)}
        for part in _parts(whose):
            if not self._held[part]:
                del self._held[part]
                if part not in wanted:
                    self._served.pop(part, None)


def _parts(whose: Client) -> list[Client]:
    return [whose[:length] for length in range(1, len(whose) + 1)] or [DAEMON]
