# SPDX-License-Identifier: Apache-2.0
"""Sends the frames of one page's event stream, at most about 20 times a second.

The `id` of a frame is the position in every stream, as a query string, so that a browser that reconnects with
Last-Event-ID continues all of them. A position advances together with its frame, so what was not sent is sent again.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

FRAME_BYTES = 256 * 1024
FRAMES = 32
PAUSE_SECONDS = 0.05
HEARTBEAT_SECONDS = 15.0


class Outbox:
    """A queue of events from streams for a connection. A stream waits while the connection is slow."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """`places`: the positions of an earlier connection, each kept until its stream advances."""
        self._places: dict[str, str | int] = {**places}
        self._events: asyncio.Queue[tuple[str, bytes, dict[str, str | int]]] = asyncio.Queue(FRAMES)

    async def put(self, event: str, data: Any, **places: str | int) -> None:
        """`places`: where the streams continue after this event."""
        await self._events.put((event, msgspec.json.encode(data), places))

    async def take(self) -> AsyncGenerator[bytes, None]:
        """The bytes to send, endlessly; a comment if there is nothing to send for a while."""
        yield b"retry: 1000\n\n"
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    frames = [self._frame(*await self._events.get())]
            except TimeoutError:
                yield b": still here\n\n"
                continue
            while not self._events.empty():
                frames.append(self._frame(*self._events.get_nowait()))
            yield b"".join(frames)
            if len(frames) < FRAMES:
                await asyncio.sleep(PAUSE_SECONDS)

    def _frame(self, event: str, data: bytes, places: dict[str, str | int]) -> bytes:
        self._places |= places
        return b"event: %s\nid: %s\ndata: %s\n\n" % (event.encode(), urlencode(self._places).encode(), data)
