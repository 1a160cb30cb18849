# SPDX-License-Identifier: Apache-2.0
"""The Varlink server: a socket, and the connections that it has.

What clients can cost is bounded (promise 10): the size of a message, what one connection reads ahead and leaves
unread (connection.py), what all of them hold together (room.py), and the time that they take of the event loop
(pace.py). A fault in a handler ends that call, not the daemon.
"""

import asyncio
import logging
import socket

from fluxgymd.api.calls import Route
from fluxgymd.api.connection import Connection, Shared
from fluxgymd.api.room import Room

log = logging.getLogger(__name__)

ACCEPTS = 16
"""New connections in one turn of the loop. More of them than are answered would only push one another out again; the
kernel keeps those that wait in their order."""
STREAM_SECONDS = 0.5
"""At the end, for a stream to end by itself, as a list of jobs does. One of news costs all of it."""
CALL_SECONDS = 5.0
"""At the end, for another call that was begun. A volume that hangs costs all of it; TimeoutStopSec= is 20 s."""
PAUSE_SECONDS = 1.0
"""Before the next try, when there are no descriptors for another connection."""


class Server:
    def __init__(self, routes: list[Route], room: Room | None = None) -> None:
        self._shared = Shared({route.method.name: route for route in routes}, room or Room())
        self._accepting: set[asyncio.Task[object]] = set()
        self._listening: socket.socket | None = None
        self._pause: asyncio.TimerHandle | None = None

    def start(self, listening: socket.socket) -> None:
        """Serves on a socket that listens already. Its path is left alone at the end, too: under socket activation it
        is systemd's (daemons.md 3.4)."""
        listening.setblocking(False)
        self._listening = listening
        self._resume()

    async def close(self) -> None:
        """Takes no more calls; those that were begun may end, for a while."""
        if self._pause is not None:
            self._pause.cancel()
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        await asyncio.gather(*self._accepting, return_exceptions=True)  # these clients are served by nobody else
        connections = tuple(self._shared.connections)
        running = [task for connection in connections if (task := connection.close()) is not None]
        await _end(running, STREAM_SECONDS)
        for connection in connections:
            connection.end_stream()
        await _end(running, CALL_SECONDS)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*running, return_exceptions=True)

    def _resume(self) -> None:
        assert self._listening is not None
        asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening)

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(ACCEPTS):
            try:
                client, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("no client can be taken for a while: %s", error.strerror)
                loop.remove_reader(listening)
                self._pause = loop.call_later(PAUSE_SECONDS, self._resume)
                return
            client.setblocking(False)
            task = loop.create_task(
                loop.connect_accepted_socket(lambda: Connection(self._shared), client), name="accept"
            )
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)


async def _end(running: list[asyncio.Task[None]], seconds: float) -> None:
    """Waits until all have ended, at most so long."""
    if running:
        await asyncio.wait(running, timeout=seconds)
