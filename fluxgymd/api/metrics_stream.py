# SPDX-License-Identifier: Apache-2.0
"""Streams the measurements of a job: the present ones, thinned to what a curve needs, and then new ones.

The file is the only store. It is read in pieces, one at a time, so that neither the event loop nor the job's lane is
blocked, and the memory per client is bounded.
"""

import asyncio

from fluxgym.protocol.output_methods import MetricsReply
from fluxgymd.api.calls import Send
from fluxgymd.background import lanes
from fluxgymd.core.journal import events as e
from fluxgymd.core.measures.measurements import Row, Thinned, columns
from fluxgymd.jobs.entry import Entry
from fluxgymd.outputs import metrics
from fluxgymd.outputs.metrics import START, Cursor, Piece
from fluxgymd.store import journal

FOLLOW_SECONDS = 1.0


class MetricsStream:
    """One client's stream. `points`: about how many rows a reply may have; None: all rows of a piece."""

    def __init__(self, entry: Entry, after: str | None, points: int | None) -> None:
        self._entry = entry
        self._lane = str(entry.folder.path)
        self._begins: list[tuple[int, int]] | None = None
        self._points = points
        found = START if after is None else metrics.cursor_of(after)
        self._cursor: Cursor = START if found is None else found
        self._reset = found is None

    async def run(self, send: Send, *, follow: bool) -> MetricsReply:
        """Sends the present measurements, and with `follow` new ones until the job has ended. Returns the last
        reply."""
        told = False
        while True:
            ended = self._entry.ended  # checked before the read, so that everything written before the end is sent
            before = self._cursor
            reply = await self._caught_up(send)
            if ended or not follow:
                return reply
            if not told or self._cursor != before or reply.reset:
                await send(reply)
                told = True
            await asyncio.sleep(FOLLOW_SECONDS)

    async def _caught_up(self, send: Send) -> MetricsReply:
        """The reply that brings the client up to date."""
        thinned = None if self._points is None else Thinned(self._points)
        while True:
            piece = await self._read()
            self._cursor = piece.cursor
            if thinned is not None:
                await lanes.answer(self._lane, thinned.add, piece.rows)
                rows = [] if piece.more else await lanes.answer(self._lane, thinned.take)
            else:
                rows = piece.rows
            if not piece.more:
                return self._reply(rows)
            if rows:
                await send(self._reply(rows))

    def _reply(self, rows: list[Row]) -> MetricsReply:
        reset, self._reset = self._reset, False
        return MetricsReply(metrics=columns(rows), cursor=str(self._cursor), reset=reset or None)

    async def _read(self) -> Piece:
        begins = await self._attempts()
        path = self._entry.folder.metrics
        piece = await lanes.answer(self._lane, metrics.read, path, self._cursor, begins)
        while piece is None:
            self._cursor, self._reset = START, True
            piece = await lanes.answer(self._lane, metrics.read, path, START, begins)
        return piece

    async def _attempts(self) -> list[tuple[int, int]]:
        """Where each attempt began in the file, and its number."""
        last = self._entry.job.last if self._entry.job is not None else None
        known = self._begins
        if known is None or (last is not None and (not known or known[-1][1] < last.number)):
            history = await lanes.answer(self._lane, journal.good_events, self._entry.folder.journal)
            known = [(event.metrics_offset, event.attempt) for event in history if isinstance(event, e.Reserved)]
            self._begins = known
        return known
