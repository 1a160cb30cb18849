# SPDX-License-Identifier: Apache-2.0
"""One stream of a log for all who read it.

The feed keeps the newest pieces. If one of them begins where a reader has got to, the reader gets that piece and
those after it. Any other reader (a new one, a slow one, or one that was away) first reads from the daemon on its own
until it reaches the end of one of the pieces. So no reader misses a byte or gets one twice. Only the daemon splits
the log, never within a character or a line.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from fluxgym.errors import FluxgymError
from fluxgym.protocol.async_client import AsyncClient
from fluxgym.protocol.methods import LOGS, LogsParameters, LogsReply

KEPT_BYTES = 512 * 1024


class LogFeed:
    """The log of one job, from the position of its first reader on."""

    def __init__(self, client: AsyncClient, name: str, offset: int) -> None:
        self._client = client
        self._name = name
        self._pieces: dict[int, LogsReply] = {}
        """The newest, by the place where each begins."""
        self._size = 0
        self._end = offset
        self._news = asyncio.Event()
        self._problem: FluxgymError | None = None
        self._task = asyncio.create_task(self._follow())
        self.readers = 0

    def close(self) -> None:
        self._task.cancel()

    async def read(self, offset: int) -> AsyncGenerator[LogsReply, None]:
        """The pieces from a byte offset on (negative: lines from the end), endlessly."""
        place = offset
        while True:
            news = self._news
            if (piece := self._pieces.get(place)) is not None:
                yield piece
                place = piece.offset
            elif self._problem is not None:
                raise self._problem
            elif place == self._end:
                await news.wait()
            else:
                async with aclosing(self._own(place)) as pieces:
                    async for piece in pieces:
                        yield piece
                        place = piece.offset

    async def _own(self, place: int) -> AsyncGenerator[LogsReply, None]:
        """The pieces from a position on, until one ends at a position that the feed has."""
        parameters = lambda: LogsParameters(name=self._name, offset=place)  # noqa: E731
        async with aclosing(self._client.lasting(LOGS, parameters)) as replies:
            async for reply in replies:
                if reply is not None:
                    yield reply
                    place = reply.offset
                if place == self._end or place in self._pieces:
                    return

    async def _follow(self) -> None:
        parameters = lambda: LogsParameters(name=self._name, offset=self._end, follow=True)  # noqa: E731
        try:
            async with aclosing(self._client.lasting(LOGS, parameters)) as replies:
                async for reply in replies:
                    if reply is not None and reply.offset != self._end:
                        self._add(reply)
        except FluxgymError as error:
            self._problem = error
            self._tell()

    def _add(self, piece: LogsReply) -> None:
        self._pieces[self._end] = piece
        self._end = piece.offset
        self._size += len(piece.text)
        while self._size > KEPT_BYTES and len(self._pieces) > 1:
            self._size -= len(self._pieces.pop(next(iter(self._pieces))).text)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class LogFeeds:
    """The feeds of the logs that are being read."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._feeds: dict[str, LogFeed] = {}

    @contextmanager
    def reader(self, name: str, offset: int) -> Iterator[LogFeed]:
        """The feed of a log, kept as long as somebody reads it."""
        feed = self._feeds.get(name)
        if feed is None:
            feed = self._feeds[name] = LogFeed(self._client, name, offset)
        feed.readers += 1
        try:
            yield feed
        finally:
            feed.readers -= 1
            if not feed.readers:
                feed.close()
                del self._feeds[name]
