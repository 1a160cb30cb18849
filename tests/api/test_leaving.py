# SPDX-License-Identifier: Apache-2.0
"""What clients get from a daemon that is about to exit: docs/decisions/0062-a-daemon-that-leaves.md."""

import asyncio
from pathlib import Path

import pytest

from fluxgym.protocol import methods as m
from fluxgymd.api import server as server_module
from fluxgymd.api.calls import Route, Send
from fluxgymd.api.server import Server
from tests.api.serving import GET_INFO, LIST, WATCH, endless, info, listening_at
from tests.harness.waiting import DEADLINE_SECONDS, forever

LEAVING = b"org.fluxgym.Machine.Leaving"


async def answer_at_the_end(path: Path, server: Server, sent: bytes, begun: asyncio.Event) -> list[bytes]:
    """The answers to a client that has sent `sent`, if the server is closed as soon as `begun` is set."""
    server.start(listening_at(path))
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(sent)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await begun.wait()
        await server.close()
        answer = await reader.read()
    writer.close()
    return answer.split(b"\0")[:-1]


@pytest.mark.parametrize("sent", [b"", GET_INFO[:20]], ids=["nothing", "half a call"])
def test_a_client_without_a_call_learns_that_the_daemon_is_leaving(tmp_path: Path, sent: bytes) -> None:
    async def run() -> list[bytes]:
        here = asyncio.Event()
        here.set()
        return await answer_at_the_end(tmp_path / "socket", Server([]), sent, here)

    (told,) = asyncio.run(run())
    assert LEAVING in told


def test_a_call_in_progress_is_answered_and_the_next_one_is_refused(tmp_path: Path) -> None:
    async def run() -> list[bytes]:
        begun, leaves = asyncio.Event(), asyncio.Event()

        async def slow(_: m.JobName, __: Send) -> m.Nothing:
            begun.set()
            async with asyncio.timeout(DEADLINE_SECONDS):
                await leaves.wait()
            return m.Nothing()

        server = Server([Route(m.HOLD, slow), Route(m.GET_INFO, info)])
        asyncio.get_running_loop().call_later(0.1, leaves.set)
        hold = b'{"method":"org.fluxgym.Jobs.Hold","parameters":{"name":"a"}}\0'
        return await answer_at_the_end(tmp_path / "socket", server, hold + GET_INFO, begun)

    answered, refused = asyncio.run(run())
    assert answered == b'{"parameters":{}}'
    assert LEAVING in refused


def test_a_call_that_never_ends_is_cut_off_without_a_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can tell whether it was carried out."""
    monkeypatch.setattr(server_module, "CALL_SECONDS", 0.1)

    async def run() -> list[bytes]:
        begun = asyncio.Event()

        async def hangs(_: m.JobName, __: Send) -> m.Nothing:
            begun.set()
            await forever()

        hold = b'{"method":"org.fluxgym.Jobs.Hold","parameters":{"name":"a"}}\0'
        return await answer_at_the_end(tmp_path / "socket", Server([Route(m.HOLD, hangs)]), hold, begun)

    assert asyncio.run(run()) == []


def test_a_stream_may_end_on_its_own_and_an_endless_one_is_cut_off(tmp_path: Path) -> None:
    async def run(method: bytes) -> list[bytes]:
        begun = asyncio.Event()

        async def jobs(_: m.ListParameters, send: Send) -> m.ListReply:
            await send(m.ListReply())
            begun.set()
            await asyncio.sleep(0)
            return m.ListReply()

        async def news(parameters: m.WatchParameters, send: Send) -> m.WatchReply:
            begun.set()
            return await endless(parameters, send)

        server = Server([Route(m.LIST, jobs), Route(m.WATCH, news)])
        return await answer_at_the_end(tmp_path / "socket", server, method, begun)

    first, last, told = asyncio.run(run(LIST))
    assert (first, last) == (b'{"parameters":{},"continues":true}', b'{"parameters":{}}')
    assert LEAVING in told
    (tmp_path / "socket").unlink()
    _, told = asyncio.run(run(WATCH))
    assert LEAVING in told
