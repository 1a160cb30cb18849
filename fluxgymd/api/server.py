# SPDX-License-Identifier: Apache-2.0
"""The Varlink server: frames in, handlers called, frames out.

Calls of one connection are answered in their order. What one connection can cost is bounded: the size of a message,
the calls that wait, the replies that are not read (the handler waits then); and the number of connections is bounded
too (promise 10). A fault in a handler ends that call, not the daemon.
"""

import asyncio
import inspect
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from fluxgym.errors import (
    ExpectedMore,
    FluxgymError,
    InterfaceNotFound,
    InternalError,
    InvalidParameter,
    MethodNotFound,
)
from fluxgym.framing import FrameError, Splitter, decode, encode
from fluxgym.methods import INTERFACES, Method
from fluxgymd.api.parameters import convert

log = logging.getLogger(__name__)

CONNECTIONS = 512
"""Half of the descriptors that a process of a systemd user has (systemd.exec(5): LimitNOFILE, 1024). With all of them
taken by clients no journal could be opened and no attempt looked at."""
CALLS_WAITING = 16
CALL_BYTES_WAITING = 1024 * 1024
READ_BYTES = 64 * 1024
REPLY_BYTES_WAITING = 256 * 1024
LEAVE_SECONDS = 5.0
"""How long a client may take to read its last replies, once the daemon has nothing more for it."""

Send = Callable[[msgspec.Struct], Awaitable[None]]
Handler = Callable[[Any, Send], Awaitable[msgspec.Struct]]
"""Answers a call with its last reply. A stream sends the replies before that one through `Send`, which waits while
the client does not read."""


@dataclass(frozen=True, slots=True)
class Route:
    """A method and what answers it."""

    method: Method[Any, Any]
    handler: Handler


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was read: its route, its parameters, and how it wants to be answered."""

    route: Route
    parameters: msgspec.Struct
    more: bool
    oneway: bool


class Server:
    def __init__(self, routes: list[Route]) -> None:
        self._routes = {route.method.name: route for route in routes}
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Serves on a socket that listens already."""
        options: dict[str, Any] = {"sock": listening, "limit": READ_BYTES}
        # Python 3.13 unlinks the path of the socket at close by default; under socket activation the path belongs to
        # systemd, and every later client would get ENOENT (daemons.md 3.4). The running loop is asked: the abstract
        # one does not name the option in any version.
        if "cleanup_socket" in inspect.signature(asyncio.get_running_loop().create_unix_server).parameters:
            options["cleanup_socket"] = False
        self._server = await asyncio.start_unix_server(self._accept, **options)

    async def close(self) -> None:
        """Takes no more calls, and ends those that run."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=REPLY_BYTES_WAITING)
        try:
            if not _is_ours(writer) or len(self._connections) > CONNECTIONS:
                writer.write(encode({"error": "org.varlink.service.PermissionDenied", "parameters": {}}))
                return
            await _Conversation(self, reader, writer).run()
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("a connection failed")
        finally:
            await _leave(writer)

    def parse(self, frame: bytes) -> Call:
        """FrameError if it is no call at all, a FluxgymError if it is one that cannot be answered."""
        message = decode(frame)
        name = message.pop("method", None)
        raw = message.pop("parameters", None)
        flags = {key: message.pop(key, False) for key in ("more", "oneway", "upgrade")}
        if message or not isinstance(name, str) or not all(isinstance(flag, bool) for flag in flags.values()):
            raise FrameError("the message is not a Varlink call")
        if raw is not None and not isinstance(raw, dict):
            raise FrameError("the parameters are not an object")
        route = self._routes.get(name)
        if route is None:
            interface = name.rpartition(".")[0]
            if interface not in INTERFACES:
                raise InterfaceNotFound(f"There is no interface {interface}.", interface=interface)
            raise MethodNotFound(f"There is no method {name}.", method=name)
        if route.method.stream and not flags["more"]:
            raise ExpectedMore(f"{name} answers with a stream; call it with more.")
        return Call(route, convert(raw or {}, route.method.parameters), flags["more"], flags["oneway"])


class _Conversation:
    """One connection: a task that reads ahead, and the loop that answers."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._frames: asyncio.Queue[bytes | FrameError | None] = asyncio.Queue()
        self._bytes_waiting = 0
        self._room = asyncio.Event()
        self._answering: asyncio.Task[None] | None = None
        self._streams = False

    async def run(self) -> None:
        reading = asyncio.create_task(self._read(), name="connection-read")
        try:
            while (frame := await self._frames.get()) is not None:
                self._bytes_waiting -= len(frame) if isinstance(frame, bytes) else 0
                self._room.set()
                self._answering = asyncio.create_task(self._answer(frame), name="connection-answer")
                await self._answering
                if isinstance(frame, FrameError):
                    return
        finally:
            reading.cancel()
            if self._answering is not None:
                self._answering.cancel()

    async def _read(self) -> None:
        splitter = Splitter()
        frames: list[bytes] = []
        try:
            while data := await self._reader.read(READ_BYTES):
                splitter.feed(data, frames.append)
                for frame in frames:
                    await self._wait_in_line(frame)
                frames.clear()
        except FrameError as error:
            self._end_stream()
            self._frames.put_nowait(error)
            return
        except ConnectionError:
            pass
        self._end_stream()
        self._frames.put_nowait(None)

    async def _wait_in_line(self, frame: bytes) -> None:
        """Hands a frame over, when there is room. FrameError if there may never be any: a stream may have no end, and
        while the reading stands still a client that leaves is not seen."""
        while self._frames.qsize() >= CALLS_WAITING or (
            not self._frames.empty() and self._bytes_waiting + len(frame) > CALL_BYTES_WAITING
        ):
            if self._streams:
                raise FrameError("too many calls wait behind a stream; send them on another connection")
            self._room.clear()
            await self._room.wait()
        self._bytes_waiting += len(frame)
        self._frames.put_nowait(frame)

    def _end_stream(self) -> None:
        """Nobody reads a stream any more, and one without news would never notice. A call that was sent is carried
        out whole, whether somebody waits for its answer or not."""
        if self._answering is not None and self._streams:
            self._answering.cancel()

    async def _answer(self, frame: bytes | FrameError) -> None:
        try:
            if isinstance(frame, FrameError):
                raise frame
            call = self._server.parse(frame)
        except FrameError as error:
            # Varlink: a service must close after a malformed message; it says why first.
            await self._fail(InvalidParameter(str(error), parameter=f"message: {error}"))
            self._writer.close()
            return
        except FluxgymError as error:
            await self._fail(error)
            return
        self._streams = call.route.method.stream
        try:
            reply = await call.route.handler(call.parameters, self._continue)
            if not call.oneway:
                await self._send({"parameters": reply})
        except FluxgymError as error:
            if not call.oneway:
                await self._fail(error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("%s failed", call.route.method.name)
            await self._fail(InternalError(f"The daemon failed on this call: {type(error).__name__}; see its log."))

    async def _continue(self, reply: msgspec.Struct) -> None:
        await self._send({"parameters": reply, "continues": True})

    async def _fail(self, error: FluxgymError) -> None:
        await self._send({"error": error.wire_name, "parameters": error.parameters()})

    async def _send(self, message: dict[str, Any]) -> None:
        self._writer.write(encode(message))
        await self._writer.drain()


async def _leave(writer: asyncio.StreamWriter) -> None:
    """Closes the connection, with what was not read yet if that takes too long: until it is closed it counts."""
    writer.close()
    try:
        async with asyncio.timeout(LEAVE_SECONDS):
            await writer.wait_closed()
    except (TimeoutError, ConnectionError, asyncio.CancelledError):
        writer.transport.abort()


def _is_ours(writer: asyncio.StreamWriter) -> bool:
    """Whether the peer is this user or root (unix(7): SO_PEERCRED)."""
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", peer)
    return uid in (os.getuid(), 0)
