# SPDX-License-Identifier: Apache-2.0
"""The server itself: its socket's path, and what a connection may cost."""

import asyncio
import socket
from pathlib import Path
from typing import Any

from fluxgymd.api.server import Server


def listening_at(path: Path) -> socket.socket:
    """As systemd passes it: bound to its final path."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    return listening


class LoopOf313(asyncio.SelectorEventLoop):
    """Takes `cleanup_socket` as the event loop of Python 3.13 does (gh-111246), which obeys it by default."""

    cleanup_socket: bool | None = None

    async def create_unix_server(  # type: ignore[override]
        self, factory: Any, path: Any = None, *, cleanup_socket: bool = True, **options: Any
    ) -> asyncio.Server:
        self.cleanup_socket = cleanup_socket
        return await super().create_unix_server(factory, path, **options)


async def start_and_close(path: Path) -> None:
    server = Server([])
    await server.start(listening_at(path))
    await server.close()


def test_systemds_socket_stays_at_its_path_when_the_daemon_leaves(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    asyncio.run(start_and_close(path))
    assert path.is_socket()


def test_python_3_13_is_told_to_leave_the_path_alone(tmp_path: Path) -> None:
    loop = LoopOf313()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(start_and_close(tmp_path / "socket"))
    assert loop.cleanup_socket is False
