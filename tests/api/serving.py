# SPDX-License-Identifier: Apache-2.0
"""A socket that is served, the answers of a small interface on it, and messages to it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from fluxgym.protocol import methods as m
from fluxgymd.api.calls import Send
from tests.harness.waiting import forever

WATCH = b'{"method":"org.fluxgym.Jobs.Watch","more":true}\0'
LIST = b'{"method":"org.fluxgym.Jobs.List","more":true}\0'
GET_INFO = b'{"method":"org.varlink.service.GetInfo"}\0'


def listening_at(path: Path) -> socket.socket:
    """A listening socket as systemd passes it, bound to its final path."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    return listening


async def endless(_: m.WatchParameters, send: Send) -> m.WatchReply:
    """A stream that sends one reply and then never has news."""
    await send(m.Nothing())
    await forever()


async def info(_: m.Nothing, __: Send) -> m.Nothing:
    await asyncio.sleep(0)
    return m.Nothing()
