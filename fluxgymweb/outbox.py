# SPDX-License-Identifier: Apache-2.0
"""The frames of one page's event stream, about ten times a second.

The `id` of a frame is the place of every stream in it, as a query string, so that a browser that connects again with
Last-Event-ID continues all of them. A place moves together with its frame, so what was not sent is sent again.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

FRAME_BYTES = 256 * 1024
PAUSE_SECONDS = 0.1
HEARTBEAT_SECONDS = 15.0


class Outbox:
    """Streams put events in, and the connection takes frames out. A stream waits while the connection is slow."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """`places`: those of an earlier connection, which are kept until a stream moves on."""
        self._places = dict(places)
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._room = asyncio.Event()
        self._some = asyncio.Event()

    async def put(self, event: str, data: Any, **places: str | int) -> None:
        """`data`: what msgspec can encode, or JSON. `places`: where the streams continue after this event."""
        while self._size >= FRAME_BYTES:
            self._room.clear()
            await self._room.wait()
        self._places |= {name: str(place) for name, place in places.items()}
        text = data if isinstance(data, bytes) else msgspec.json.encode(data)
        frame = b"event: %s\nid: %s\ndata: %s\n\n" % (event.encode(), urlencode(self._places).encode(), text)
        self._frames.append(frame)
        self._size += len(frame)
        self._some.set()

    async def take(self) -> AsyncGenerator[bytes, None]:
        """The bytes to send, without end; a comment if there is nothing for a while."""
        yield b"retry: 1000\n\n"
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._some.wait()
            except TimeoutError:
                yield b": still here\n\n"
                continue
            frames = b"".join(self._frames)
            self._frames.clear()
            self._size = 0
            self._some.clear()
            self._room.set()
            yield frames
            await asyncio.sleep(PAUSE_SECONDS)
