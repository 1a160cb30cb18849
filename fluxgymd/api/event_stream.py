# SPDX-License-Identifier: Apache-2.0
"""The method Events: the events of all jobs, or of one, as a stream."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path

from fluxgym.protocol.event_messages import Event
from fluxgym.protocol.event_methods import EVENTS, EventsParameters, EventsReply
from fluxgymd.api.calls import Route, Send
from fluxgymd.background import lanes
from fluxgymd.core.journal.event_cursor import decode, encode
from fluxgymd.core.journal.event_kind import kind
from fluxgymd.core.journal.events import AnyEvent
from fluxgymd.core.journal.history import sentence
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.feed import Piece
from fluxgymd.jobs.registry import Registry
from fluxgymd.store import journal


class Replaced(Exception):
    """A journal is not the one that a cursor refers to."""


class EventStreams:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> list[Route]:
        return [Route(EVENTS, self.events)]

    async def events(self, asked: EventsParameters, send: Send) -> EventsReply:
        feed = self._registry.feed
        only = self._registry.entry(asked.name) if asked.name is not None else None
        after = decode(asked.after) if asked.after is not None else None
        pieces: list[Piece] | None
        if asked.after is not None:
            pieces = feed.after(after, only) if after is not None else None
        elif asked.follow:
            pieces = []
        else:
            oldest_first = [only] if only is not None else reversed(self._registry.newest())
            pieces = feed.everything(oldest_first)
        first = True
        while True:
            # Nothing is awaited between reading what is new and this, so the cursor refers to the same moment.
            cursor = feed.cursor(only)
            reset = pieces is None
            try:
                last = await self._send_all(pieces or (), send)
            except Replaced:
                last, reset = None, True
            told = EventsReply(cursor=encode(cursor), event=last, reset=reset or None)
            if not asked.follow or (only is not None and not self._exists(only)):
                return told
            if first or last is not None or reset:
                await send(told)
            first = False
            await feed.wait(cursor)
            pieces = feed.after(cursor, only)

    def _exists(self, entry: Entry) -> bool:
        return self._registry.has(entry.name) and self._registry.entry(entry.name) is entry

    async def _send_all(self, pieces: Iterable[Piece], send: Send) -> Event | None:
        """Sends all events but the last one, which is returned so that it can carry the cursor."""
        held: Event | None = None
        async with aclosing(_told(pieces)) as told:
            async for event in told:
                if held is not None:
                    await send(EventsReply(event=held))
                held = event
        return held


async def _told(pieces: Iterable[Piece]) -> AsyncGenerator[Event, None]:
    for piece in pieces:
        for event in await _events(piece):
            yield Event(
                job=piece.entry.name,
                id=piece.entry.known.id,
                at=event.at,
                kind=kind(event),
                text=sentence(event),
                attempt=getattr(event, "attempt", None),
            )


async def _events(piece: Piece) -> Iterable[AnyEvent]:
    if piece.event is not None:
        return [piece.event]
    entry = piece.entry
    if entry.older is not None and not piece.end:
        return entry.older.history
    folder = entry.folder
    found = await lanes.answer(str(folder.path), _read, folder.journal, piece.begin, piece.end)
    if found is None:
        raise Replaced
    return found


def _read(path: Path, begin: int, end: int) -> list[AnyEvent] | None:
    """Also None for a job that was removed in the meantime. Blocks."""
    try:
        return journal.events_between(path, begin, end)
    except FileNotFoundError:
        return []
