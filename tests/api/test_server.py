# SPDX-License-Identifier: Apache-2.0
"""The server: the path of its socket, and the limits of what a connection may cost."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgymd.api import connection
from fluxgymd.api.calls import Route, Send
from fluxgymd.api.connection import READ_AHEAD_BYTES, READ_BYTES, REPLY_BYTES_WAITING
from fluxgymd.api.pace import Pace
from fluxgymd.api.server import Server
from tests.api.serving import GET_INFO, LIST, WATCH, endless, info, listening_at
from tests.harness.waiting import until_async


async def start_and_close(path: Path) -> None:
    server = Server([])
    server.start(listening_at(path))
    await server.close()


def test_the_socket_of_systemd_stays_in_place_when_the_daemon_exits(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    asyncio.run(start_and_close(path))
    assert path.is_socket()


async def flood(_: m.LogsParameters, send: Send) -> m.LogsReply:
    """A stream that always has another reply to send."""
    while True:
        await send(m.LogsReply(text="x" * 65536, offset=0))


LOGS = b'{"method":"org.fluxgym.Jobs.Logs","more":true,"parameters":{"name":"a"}}\0'


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Server]:
    """A server with a stream of each of these two kinds."""
    server = Server([Route(m.WATCH, endless), Route(m.LOGS, flood)])
    server.start(listening_at(path))
    try:
        yield server
    finally:
        await server.close()


async def all_left(server: Server) -> None:
    """Waits until the server holds nothing for any connection."""

    async def none() -> bool:
        return not server._shared.connections and not len(server._shared.room)

    await until_async(none, what="every connection to be over")


@pytest.mark.parametrize(
    "behind",
    [
        GET_INFO,
        GET_INFO * (2 * READ_AHEAD_BYTES // len(GET_INFO)),
        b'{"x":"' + b"y" * 1_000_000 + b'"}\0',
        b"garbage\0",
    ],
    ids=["a call", "many calls", "many bytes", "no call"],
)
def test_promise_10_a_client_that_sends_more_calls_during_a_stream_and_disconnects_costs_nothing(
    tmp_path: Path, behind: bytes
) -> None:
    async def run() -> None:
        async with serving(tmp_path / "socket") as server:
            reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
            writer.write(WATCH)
            assert (await reader.readuntil(b"\0")).startswith(b'{"parameters"')
            writer.write(behind)
            await asyncio.sleep(0)
            writer.transport.abort()  # part of it may not have been sent yet
            await all_left(server)

    asyncio.run(run())


def test_promise_10_data_sent_after_a_call_waits_in_the_kernel(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path / "socket") as server:
            reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
            writer.write(WATCH)
            await reader.readuntil(b"\0")
            (one,) = server._shared.connections
            writer.write(GET_INFO * 40_000)

            async def stands_still() -> bool:
                return not one._transport.is_reading()

            await until_async(stands_still, what="the daemon to read no more")
            assert READ_AHEAD_BYTES < one._splitter.size <= READ_AHEAD_BYTES + READ_BYTES
            writer.transport.abort()
            await all_left(server)

    asyncio.run(run())


def test_promise_10_a_client_that_never_reads_holds_at_most_its_share_of_memory(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path / "socket") as server:
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, str(tmp_path / "socket"))
                await loop.sock_sendall(client, LOGS)
                client.shutdown(socket.SHUT_WR)

                async def stuck() -> bool:
                    return any(one._unread is not None for one in server._shared.connections)

                await until_async(stuck, what="the stream to wait for its reader")
                (one,) = server._shared.connections
                assert one._transport.get_write_buffer_size() <= REPLY_BYTES_WAITING + 66_000
            await all_left(server)

    asyncio.run(run())


def test_promise_10_the_last_replies_wait_only_so_long_for_their_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LEAVE_SECONDS", 0.1)

    async def until_some_wait(_: m.LogsParameters, send: Send) -> m.LogsReply:
        (one,) = server._shared.connections
        while not one._transport.get_write_buffer_size():
            await send(m.LogsReply(text="x" * 1000, offset=0))
        return m.LogsReply(text="", offset=0)

    server = Server([Route(m.LOGS, until_some_wait)])

    async def run() -> None:
        server.start(listening_at(tmp_path / "socket"))
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, str(tmp_path / "socket"))
            await loop.sock_sendall(client, LOGS)
            client.shutdown(socket.SHUT_WR)
            poll = select.poll()
            poll.register(client, 0)

            async def closed() -> bool:
                return poll.poll(0) == [(client.fileno(), select.POLLHUP)]  # closed, not only forgotten

            await until_async(closed, what="the connection to be closed")
            await all_left(server)
        await server.close()

    asyncio.run(run())


def test_a_client_that_has_closed_its_writing_side_gets_all_its_replies(tmp_path: Path) -> None:
    async def two(_: m.ListParameters, send: Send) -> m.ListReply:
        await send(m.ListReply())
        await asyncio.sleep(0)
        return m.ListReply()

    async def run() -> bytes:
        server = Server([Route(m.LIST, two), Route(m.GET_INFO, info)])
        server.start(listening_at(tmp_path / "socket"))
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        writer.write(LIST + GET_INFO)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await server.close()
        return answer

    assert asyncio.run(run()).split(b"\0") == [
        b'{"parameters":{},"continues":true}',
        *[b'{"parameters":{}}'] * 2,
        b"",
    ]


def test_calls_are_carried_out_even_if_their_client_has_disconnected(tmp_path: Path) -> None:
    done: list[str] = []

    async def stop(parameters: m.JobName, _: Send) -> m.Nothing:
        await asyncio.sleep(0)
        done.append(parameters.name)
        return m.Nothing()

    async def run() -> None:
        server = Server([Route(m.STOP, stop)])
        server.start(listening_at(tmp_path / "socket"))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "socket"))
            for number in range(5):
                client.sendall(b'{"method":"org.fluxgym.Jobs.Stop","parameters":{"name":"job-%d"}}\0' % number)

        async def all_done() -> bool:
            return len(done) == 5

        await until_async(all_done, what="all five calls")
        await all_left(server)
        await server.close()

    asyncio.run(run())
    assert done == [f"job-{number}" for number in range(5)]


@pytest.mark.parametrize(
    "call",
    [
        b'{"method":"org.varlink.service.GetInfo","oneway":true}\0',
        b'{"method":"org.varlink.service.GetInfo","oneway":true,"parameters":{"wrong":1}}\0',
        b'{"method":"org.varlink.service.None","oneway":true}\0',
        b'{"method":"a.b.None","oneway":true}\0',
        b'{"method":"org.fluxgym.Jobs.Watch","oneway":true}\0',
        b'{"method":"org.fluxgym.Machine.Gpus","oneway":true}\0',
    ],
    ids=["answered", "wrong parameter", "no method", "no interface", "a stream", "a fault"],
)
def test_a_oneway_call_is_never_answered(tmp_path: Path, call: bytes) -> None:
    async def fault(_: m.Nothing, __: Send) -> m.Nothing:
        raise RuntimeError

    async def run() -> bytes:
        server = Server([Route(m.GET_INFO, info), Route(m.WATCH, endless), Route(mm.GPUS, fault)])
        server.start(listening_at(tmp_path / "socket"))
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        writer.write(call + GET_INFO)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await server.close()
        return answer

    assert asyncio.run(run()) == b'{"parameters":{}}\0'


def test_promise_10_calls_beyond_the_limit_are_answered_one_at_a_time(tmp_path: Path) -> None:
    count = 3 * READ_AHEAD_BYTES // len(GET_INFO)

    async def run() -> None:
        server = Server([Route(m.GET_INFO, info)])
        server.start(listening_at(tmp_path / "socket"))
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        writer.write(GET_INFO * count)
        for _ in range(count):
            msgspec.json.decode((await reader.readuntil(b"\0"))[:-1])
        writer.close()
        await server.close()

    asyncio.run(run())


def test_promise_10_each_call_and_each_reply_of_a_stream_waits_for_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    async def step(_: Pace) -> None:
        nonlocal steps
        steps += 1

    monkeypatch.setattr(Pace, "step", step)

    async def ten(_: m.ListParameters, send: Send) -> m.ListReply:
        for reply in [m.ListReply()] * 10:
            await send(reply)
        return m.ListReply()

    async def run() -> None:
        server = Server([Route(m.LIST, ten)])
        server.start(listening_at(tmp_path / "socket"))
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        writer.write(LIST * 3)
        writer.write_eof()
        assert (await reader.read()).count(b"\0") == 33
        writer.close()
        await server.close()

    asyncio.run(run())
    assert steps == 33
