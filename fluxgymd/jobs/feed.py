# SPDX-License-Identifier: Apache-2.0
"""The events of all jobs, for the method Events, without a copy of the journals.

The latest changes are in memory, in the order in which this daemon recorded them. If a subscriber lags further
behind, or comes from an earlier daemon, its cursor shows which journals have grown (core/journal/event_cursor.py),
and only those are read. So a subscriber costs no memory (promise 10).
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from fluxgymd.core.journal.event_cursor import LISTED, Cursor, Digest, Journaled, grown
from fluxgymd.core.journal.events import AnyEvent
from fluxgymd.jobs.entry import Entry

KEPT = 1000
"""How many changes are kept in memory."""


@dataclass(frozen=True, slots=True)
class Piece:
    """New events of one job: a known event, or those in a piece of its journal."""

    entry: Entry
    event: AnyEvent | None
    begin: int
    end: int


class Feed:
    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._change = 0
        self._recent: deque[tuple[int, Piece]] = deque(maxlen=KEPT)
        self._entries: dict[int, Entry] = {}
        self._latest: OrderedDict[int, None] = OrderedDict()
        """The keys of the jobs that changed last, the newest last."""
        self._all = Digest()
        self._number = 0
        self._wake = asyncio.Event()

    def took_in(self, entry: Entry) -> None:
        """Adds a job that exists from now on. A damaged one has no events."""
        if entry.key is None:
            return
        self._entries[entry.key] = entry
        self._all = self._all.plus(entry.key, entry.told)
        self._number = max(self._number, entry.age[0])
        self._touch(entry.key)
        self._change += 1

    def loaded(self, entries: Iterable[Entry]) -> None:
        """Orders the jobs at the start: those that will probably change next come last."""
        for entry in entries:
            if entry.key is not None:
                self._touch(entry.key)

    def submitted(self, entry: Entry) -> None:
        """Records that a job was just submitted, after `took_in`."""
        self._tell(Piece(entry, None, 0, entry.told))

    def recorded(self, entry: Entry, event: AnyEvent) -> None:
        """Records an event that has been applied to its job."""
        assert entry.key is not None
        before, entry.told = entry.told, entry.journal.size
        self._all = self._all.minus(entry.key, before).plus(entry.key, entry.told)
        self._touch(entry.key)
        self._tell(Piece(entry, event, before, entry.told))

    def dropped(self, entry: Entry) -> None:
        """Forgets a job that no longer exists."""
        if entry.key is None or self._entries.pop(entry.key, None) is None:
            return
        self._all = self._all.minus(entry.key, entry.told)
        self._latest.pop(entry.key, None)
        self._change += 1
        self._wake_waiting()

    def cursor(self, first: Entry | None = None) -> Cursor:
        """The present position. `first`: a job that is always listed."""
        keys = reversed(self._latest)
        listed = {} if first is None or first.key not in self._entries else {first.key: first.told}
        listed |= {key: self._entries[key].told for key in keys}
        others = self._all
        for key, size in listed.items():
            others = others.minus(key, size)
        return Cursor(instance=self._instance, change=self._change, number=self._number, listed=listed, others=others)

    def after(self, cursor: Cursor, only: Entry | None = None) -> list[Piece] | None:
        """What is new since a cursor: each job's events in order, and all events in the order in which they were
        recorded if they are still in memory. None if that is unknown (core/event_cursor.grown)."""
        if only is not None and only.key is None:
            return []
        if cursor.instance == self._instance and self._remembers(cursor.change):
            pieces = (piece for change, piece in self._recent if change > cursor.change)
            # By key, since a job that was removed and restored has another entry.
            return [piece for piece in pieces if only is None or piece.entry.key == only.key]
        present = (Journaled(key, entry.age[0], entry.told) for key, entry in self._entries.items())
        begins = grown(cursor, present, only=only.key if only is not None else None)
        return None if begins is None else [self._piece(key, begin) for key, begin in begins.items()]

    def everything(self, entries: Iterable[Entry]) -> list[Piece]:
        """All events of these jobs."""
        return [Piece(entry, None, 0, entry.told) for entry in entries if entry.key is not None]

    async def wait(self, cursor: Cursor) -> None:
        """Returns as soon as something has changed since this daemon issued the cursor."""
        while self._change <= cursor.change:
            await self._wake.wait()

    def _piece(self, key: int, begin: int) -> Piece:
        entry = self._entries[key]
        return Piece(entry, None, begin, entry.told)

    def _remembers(self, change: int) -> bool:
        # No cursor of this daemon is older than its first change: it adds all jobs before it serves any client.
        forgotten = self._recent[0][0] - 1 if len(self._recent) == KEPT else 0
        return forgotten <= change <= self._change

    def _touch(self, key: int) -> None:
        self._latest[key] = None
        self._latest.move_to_end(key)
        if len(self._latest) > LISTED:
            self._latest.popitem(last=False)

    def _tell(self, piece: Piece) -> None:
        self._change += 1
        self._recent.append((self._change, piece))
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()
