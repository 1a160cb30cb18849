# SPDX-License-Identifier: Apache-2.0
"""Bounds how many connections there may be, and how many bytes they may hold together (promise 10).

When a bound is exceeded, the connection that has kept the daemon waiting longest gives way. If there are too many
connections, that is the one that has been without a call longest, beginning with those that never made one. If there
are too many bytes, it is the one whose bytes have waited longest, among those that hold more than their share. So
clients that connect and say nothing, send half a message or never read cannot shut out a well-behaved one, and no
time-out is needed, which would hit slow but honest clients.
"""

from typing import Protocol

from fluxgym.errors import FluxgymError, Overloaded
from fluxgymd.background import limits

CONNECTIONS = limits.share(512, 2)
"""At most half of the descriptors: if clients had them all, no journal could be opened and no attempt looked at."""
BYTES = 32 * 1024 * 1024
"""For messages that are incomplete or wait for their turn, and for replies that are not read."""


class Guest(Protocol):
    """A connection, as the room sees it."""

    def expel(self, error: FluxgymError) -> None:
        """Closes it, with this error as its last reply if the client reads."""


class Room:
    def __init__(self, *, connections: int = CONNECTIONS, limit: int = BYTES) -> None:
        self._connections = connections
        self._limit = limit
        self._guests: dict[Guest, None] = {}
        self._silent: dict[Guest, None] = {}  # those that have not made a call yet, the oldest first
        self._idle: dict[Guest, None] = {}  # those that have, but have no call now, the longest idle first
        self._held: dict[Guest, int] = {}  # their bytes, the oldest first
        self._total = 0

    def __len__(self) -> int:
        return len(self._guests)

    def enter(self, guest: Guest) -> None:
        """Admits a new connection. If it is one too many, one is expelled: this one if all others have calls."""
        self._guests[guest] = None
        if len(self._guests) > self._connections:
            without_a_call = self._silent or self._idle or [guest]
            self._expel(
                next(iter(without_a_call)),
                f"More than {self._connections} clients are connected, so this one was disconnected. Call again.",
            )
        if guest in self._guests:
            self._silent[guest] = None

    def leave(self, guest: Guest) -> None:
        self._guests.pop(guest, None)
        self._silent.pop(guest, None)
        self._idle.pop(guest, None)
        self._total -= self._held.pop(guest, 0)

    def busy(self, guest: Guest) -> None:
        """The connection has a call now."""
        self._silent.pop(guest, None)
        self._idle.pop(guest, None)

    def idle(self, guest: Guest) -> None:
        """The connection has no call now. Bytes of an incomplete message do not make it less idle."""
        if guest in self._guests and guest not in self._silent:
            self._idle.setdefault(guest)

    def holds(self, guest: Guest, size: int) -> None:
        """The connection holds `size` bytes now."""
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
                next(one for one, size in self._held.items() if size > share),  # not all are below their share
                f"More than {self._limit} bytes of messages are incomplete or unread; this client was disconnected.",
            )

    def _expel(self, guest: Guest, why: str) -> None:
        self.leave(guest)
        guest.expel(Overloaded(why))
