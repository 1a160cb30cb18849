# SPDX-License-Identifier: Apache-2.0
"""The Varlink server: a socket, and the connections that it has.

What clients can cost is bounded (promise 10): the size of a message, what one connection reads ahead and leaves
unread (connection.py), what all of them hold together (room.py), and the time that they take of the event loop
(pace.py). A fault in a handler ends that call, not the daemon.
"""

import asyncio
import inspect
import socket
from typing import Any

from fluxgymd.api.calls import Route
from fluxgymd.api.connection import Connection, Shared
from fluxgymd.api.room import Room


class Server:
    def __init__(self, routes: list[Route], room: Room | None = None) -> None:
        self._shared = Shared({route.method.name: route for route in routes}, room or Room())
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Serves on a socket that listens already."""
        options: dict[str, Any] = {"sock": listening}
        # Python 3.13 unlinks the path of the socket at close by default; under socket activation the path belongs to
        # systemd, and every later client would get ENOENT (daemons.md 3.4). The running loop is asked: the abstract
        # one does not name the option in any version.
        loop = asyncio.get_running_loop()
        if "cleanup_socket" in inspect.signature(loop.create_unix_server).parameters:
            options["cleanup_socket"] = False
        self._server = await loop.create_unix_server(lambda: Connection(self._shared), **options)

    async def close(self) -> None:
        """Takes no more calls, and ends those that run."""
        if self._server is not None:
            self._server.close()
        running = [connection.close() for connection in tuple(self._shared.connections)]
        await asyncio.gather(*filter(None, running), return_exceptions=True)
