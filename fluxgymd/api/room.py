# SPDX-License-Identifier: Apache-2.0
"""How many connections there may be and how much may lie in them, all together (promise 10).

Both are bounded, and who gives way is who has kept the daemon waiting for the longest: of too many connections the
one that has said nothing for the longest (first those that never have), of too many bytes the one whose bytes have
lain there for the longest and are more than its share. So clients that connect and say nothing, send half a message
or never read cannot shut out one that does, and no time-out is needed that would hit a slow but honest one.
"""

from typing import Protocol

from fluxgym.errors import FluxgymError, Overloaded

CONNECTIONS = 512
"""Half of the descriptors that a process of a systemd user has (systemd.exec(5): LimitNOFILE, 1024). With all of them
taken by clients no journal could be opened and no attempt looked at."""
BYTES = 32 * 1024 * 1024
"""Of messages that are not whole or wait for their turn, and of replies that are not read."""


class Guest(Protocol):
    """A connection, as the room sees it."""

    def expel(self, error: FluxgymError) -> None:
        """Closes it, with this error as its last reply where the client reads."""


class Room:
    def __init__(self, *, connections: int = CONNECTIONS, limit: int = BYTES) -> None:
        self._connections = connections
        self._limit = limit
        self._guests: dict[Guest, None] = {}
        self._silent: dict[Guest, None] = {}  # those that have not made a call yet, the oldest first
        self._idle: dict[Guest, None] = {}  # those that have, and wait for nothing now, the longest idle first
        self._held: dict[Guest, int] = {}  # their bytes, the oldest first
        self._total = 0

    def __len__(self) -> int:
        return len(self._guests)

    def enter(self, guest: Guest) -> None:
        """A new connection. If it is one too many, one is expelled; this one, if all others have calls."""
        self._guests[guest] = None
        if len(self._guests) > self._connections:
            without_a_call = self._silent or self._idle or [guest]
            self._expel(
                next(iter(without_a_call)),
                f"More than {self._connections} clients are connected; those without a call give way. Call again.",
            )
        if guest in self._guests:
            self._silent[guest] = None

    def leave(self, guest: Guest) -> None:
        self._guests.pop(guest, None)
        self._silent.pop(guest, None)
        self._idle.pop(guest, None)
        self._total -= self._held.pop(guest, 0)

    def busy(self, guest: Guest) -> None:
        """It has a call."""
        self._silent.pop(guest, None)
        self._idle.pop(guest, None)

    def idle(self, guest: Guest) -> None:
        """It has no call now. What is not whole yet is none: bytes that drip in do not make it younger."""
        if guest in self._guests and guest not in self._silent:
            self._idle.setdefault(guest)

    def holds(self, guest: Guest, size: int) -> None:
        """So many bytes lie in it now."""
        if guest not in self._guests:
            return
        self._total += size - self._held.get(guest, 0)
        if size:
            self._held[guest] = size
        else:
            self._held.pop(guest, None)
        while self._total > self._limit:
            share = self._limit // len(self._guests)
            self._expel(
                next(one for one, size in self._held.items() if size > share),  # not all can have less than theirs
                f"More than {self._limit} bytes of messages wait to be finished or read; the oldest give way.",
            )

    def _expel(self, guest: Guest, why: str) -> None:
        self.leave(guest)
        guest.expel(Overloaded(why))
