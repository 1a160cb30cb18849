# SPDX-License-Identifier: Apache-2.0
"""The Varlink server: a socket and its connections.

What clients can cost is bounded (promise 10): the size of a message, what one connection reads ahead and leaves
unread (connection.py), what all of them hold together (room.py), and the time that they take on the event loop
(pace.py). A bug in a handler ends that call, not the daemon.
"""

import asyncio
import logging
import socket

from fluxgymd.api.calls import Route
from fluxgymd.api.connection import Connection, Shared
from fluxgymd.api.limits import Room

log = logging.getLogger(__name__)

ACCEPTS = 16
"""New connections per turn of the loop. If more were accepted than answered, they would only push one another out;
the kernel keeps the others waiting in order."""
STREAM_SECONDS = 0.5
"""At shutdown, for streams to end on their own, as a list of jobs does. One that never ends costs all of it."""
CALL_SECONDS = 5.0
"""At shutdown, for other calls that have begun. A hung volume costs all of it; TimeoutStopSec= is 20 s."""
PAUSE_SECONDS = 1.0
"""Before the next accept, when there are no descriptors for another connection."""


class Server:
    def __init__(self, routes: list[Route], room: Room | None = None) -> None:
        self._shared = Shared({route.method.name: route for route in routes}, room or Room())
        self._accepting: set[asyncio.Task[object]] = set()
        self._listening: socket.socket | None = None
        self._pause: asyncio.TimerHandle | None = None

    def start(self, listening: socket.socket) -> None:
        """Serves on a socket that already listens. Its path is never removed: under socket activation it belongs to
        systemd."""
        listening.setblocking(False)
        self._listening = listening
        self._resume()

    async def close(self) -> None:
        """Accepts no more calls; those that have begun get some time to end."""
        if self._pause is not None:
            self._pause.cancel()
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        await asyncio.gather(*self._accepting, return_exceptions=True)  # only this daemon can serve these clients
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
                log.error("cannot accept clients for a while: %s", error.strerror)
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
    """Waits until all have ended, for at most `seconds`."""
    if running:
        await asyncio.wait(running, timeout=seconds)
