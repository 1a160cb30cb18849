# SPDX-License-Identifier: Apache-2.0
"""The server itself: its socket's path, and what a connection may cost."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym import methods as m
from fluxgymd.api import server as server_module
from fluxgymd.api.server import CALLS_WAITING, Route, Send, Server
from tests.harness.waiting import until_async


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


async def endless(_: m.WatchParameters, send: Send) -> m.WatchReply:
    """A stream with one reply and then no news."""
    await send(m.Nothing())
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def flood(_: m.LogsParameters, send: Send) -> m.LogsReply:
    """A stream that always has more."""
    while True:
        await send(m.LogsReply(text="x" * 65536, offset=0))


WATCH = b'{"method":"org.fluxgym.Jobs.Watch","more":true}\0'
LOGS = b'{"method":"org.fluxgym.Jobs.Logs","more":true,"parameters":{"name":"a"}}\0'
GET_INFO = b'{"method":"org.varlink.service.GetInfo"}\0'


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Server]:
    """A server with streams of both kinds."""
    server = Server([Route(m.WATCH, endless), Route(m.LOGS, flood)])
    await server.start(listening_at(path))
    try:
        yield server
    finally:
        await server.close()


async def all_left(server: Server) -> None:
    """Waits until no connection costs anything any more."""

    async def none() -> bool:
        return not server._connections

    await until_async(none, what="every connection to be over", deadline_seconds=30)


@pytest.mark.parametrize(
    "behind",
    [GET_INFO * (CALLS_WAITING + 1), b'{"x":"' + b"y" * 1_000_000 + b'"}\0' * 3, b"garbage\0"],
    ids=["too many calls", "too many bytes", "no call"],
)
def test_promise_10_a_client_that_goes_on_behind_a_stream_and_leaves_costs_nothing(
    tmp_path: Path, behind: bytes
) -> None:
    async def run() -> None:
        async with serving(tmp_path / "socket") as server:
            reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
            writer.write(WATCH)
            assert (await reader.readuntil(b"\0")).startswith(b'{"parameters"')
            writer.write(behind)
            writer.close()
            await all_left(server)

    asyncio.run(run())


def test_promise_10_a_client_that_never_reads_is_counted_until_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it has sent all, so that its stream ends, and leaves the replies unread."""
    monkeypatch.setattr(server_module, "LEAVE_SECONDS", 0.1, raising=False)

    async def run() -> None:
        async with serving(tmp_path / "socket") as server:
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, str(tmp_path / "socket"))
                await loop.sock_sendall(client, LOGS)

                async def stuck() -> bool:
                    return any(task.get_name() == "connection-answer" for task in asyncio.all_tasks())

                await until_async(stuck, what="the stream to begin")
                client.shutdown(socket.SHUT_WR)
                await all_left(server)
                poll = select.poll()
                poll.register(client, 0)
                assert poll.poll(0) == [(client.fileno(), select.POLLHUP)]  # closed, and not only forgotten

    asyncio.run(run())


def test_promise_10_calls_beyond_the_bound_are_answered_one_after_the_other(tmp_path: Path) -> None:
    async def info(_: m.Nothing, __: Send) -> m.Nothing:
        await asyncio.sleep(0)
        return m.Nothing()

    async def run() -> int:
        server = Server([Route(m.GET_INFO, info)])
        await server.start(listening_at(tmp_path / "socket"))
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        writer.write(GET_INFO * 10 * CALLS_WAITING)
        for _ in range(10 * CALLS_WAITING):
            msgspec.json.decode((await reader.readuntil(b"\0"))[:-1])
        writer.close()
        await server.close()
        return 10 * CALLS_WAITING

    assert asyncio.run(run()) == 160
