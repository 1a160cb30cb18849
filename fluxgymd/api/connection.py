# SPDX-License-Identifier: Apache-2.0
"""One connection. Its calls are answered in order, one at a time; between calls it costs only its buffered bytes.

A call that has begun is carried out to the end, whether or not its client waits for the answer. A stream ends with
its client, and calls that were sent behind it are not begun. A client that has finished sending but still reads (a
half-close) gets all its answers. When the daemon stops, a client learns that its call was not begun, so that it can
send it to the next daemon.
"""

import asyncio
import itertools
import logging
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fluxgym.errors import FluxgymError, InternalError, InvalidParameter, Leaving, PermissionDenied, StorageFailed
from fluxgym.protocol.framing import FrameError, Splitter, encode
from fluxgymd.api import peers
from fluxgymd.api.calls import Routes, find, read
from fluxgymd.api.limits import Room
from fluxgymd.api.pace import Pace
from fluxgymd.background.turns import Client, client

log = logging.getLogger(__name__)

READ_BYTES = 16 * 1024
"""How much is read from one client in a turn of the loop. The kernel copies what was sent in tiny pieces piece by
piece: 64 kB of them take 0.4 ms, for each of hundreds of clients."""
READ_AHEAD_BYTES = 64 * 1024
"""How much is read while a call is being answered. The rest waits in the kernel."""
REPLY_BYTES_WAITING = 64 * 1024
"""How much a client may leave unread before its stream waits."""
GATHER_BYTES = 16 * 1024
"""Small replies of a stream are written together, up to about this size."""
LARGE_BYTES = 16 * 1024
"""Larger messages are parsed one at a time."""
LEAVE_SECONDS = 5.0
"""How long a client may take to read its last replies before the connection is aborted."""
LOOK_SECONDS = 2.0
"""Between two checks whether a client is gone, while nothing is read that would show it."""

_numbers = itertools.count(1)
"""Numbers the connections of this daemon."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the connections of a server share."""

    routes: Routes
    room: Room
    pace: Pace = field(default_factory=Pace)
    buffer: bytearray = field(default_factory=lambda: bytearray(READ_BYTES))
    """Takes what one of them reads; they read one after the other."""
    large: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a large message is parsed."""
    connections: "set[Connection]" = field(default_factory=set)
    """The connections that are open or still carry out a call."""


class Connection(asyncio.BufferedProtocol):
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._room = shared.room
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._splitter = Splitter()
        self._answering: asyncio.Task[None] | None = None
        self._answered_bytes = 0  # of the message that is being answered
        self._begun = False  # that message has become a call
        self._streams = False
        self._gathered = bytearray()  # replies to be written at the end of this turn of the loop
        self._unread: asyncio.Future[None] | None = None  # set while the client leaves too much unread
        self._timer: asyncio.TimerHandle | None = None
        self._client: Client = ()
        self._said_all = False  # the client will send nothing more
        self._closing = False  # no other call is begun
        self._leaving = False  # nothing more is read or answered
        self._lost = False  # there is nobody to write to

    # -- called by the event loop --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=REPLY_BYTES_WAITING)
        self._shared.connections.add(self)
        peer = transport.get_extra_info("socket")
        if peers.is_ours(peer):
            self._client = (*peers.session_and_process(peer), next(_numbers))
            self._room.enter(self)
        else:
            self._refuse(PermissionDenied("The socket serves only its own user."))

    def get_buffer(self, _: int) -> bytearray:
        return self._shared.buffer

    def buffer_updated(self, size: int) -> None:
        self._splitter.feed(memoryview(self._shared.buffer)[:size])
        self._count()
        self._next()

    def eof_received(self) -> bool:
        self._said_all = True
        self._next()
        return True  # stay open: pending calls are still answered

    def pause_writing(self) -> None:
        self._unread = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._unread is not None and not self._unread.done():
            self._unread.set_result(None)
        self._unread = None
        self._count()

    def connection_lost(self, _: Exception | None) -> None:
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        self.end_stream()
        self._room.leave(self)
        self._forget()

    # -- called by the server ------------------------------------------------------------------------------------

    def expel(self, error: FluxgymError) -> None:
        """Makes room at once: replies that the client has not read are dropped, and a call that still waits for its
        turn to be parsed is not begun."""
        if self._answering is not None and not self._begun:
            self._answering.cancel()
        self._refuse(error)
        if self._transport.get_write_buffer_size():
            self._transport.abort()

    def close(self) -> asyncio.Task[None] | None:
        """Ends the connection, but lets a call that has begun finish. Returns that call's task, if there is one."""
        self._closing = True
        if self._answering is None:
            self._refuse_calls()
        elif not self._begun:
            self._answering.cancel()
            self._refuse_calls()
        return self._answering

    def end_stream(self) -> None:
        """Ends the call if it is a stream, and drops what was sent behind it."""
        if self._answering is not None and self._streams:
            self._splitter = Splitter()
            self._answering.cancel()

    def abort(self) -> None:
        """Ends the connection and its call."""
        self._leaving = True
        self._transport.abort()
        if self._answering is not None:
            self._answering.cancel()

    # -- the calls, one after the other --------------------------------------------------------------------------

    def _next(self) -> None:
        """Begins the next call if it has arrived completely and no other one is being answered."""
        if self._leaving:
            return
        if self._answering is not None:
            self._read_on_behind_a_call()
            return
        try:
            frame = self._splitter.next()
        except FrameError as error:
            self._refuse(_malformed(error))
            return
        if self._closing and (frame is not None or not self._said_all):
            self._refuse_calls()
        elif frame is not None:
            self._room.busy(self)
            self._answered_bytes = len(frame)
            self._begun = False
            self._answering = asyncio.create_task(self._answer(frame), name="connection-answer")
            self._answering.add_done_callback(self._answered)
            self._read_on_behind_a_call()
        elif self._said_all or self._lost:
            self._leave()
        else:
            self._room.idle(self)
            self._transport.resume_reading()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering = None
        self._answered_bytes = 0
        self._streams = False
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection failed", exc_info=error)
            self._leave()
        self._count()
        self._next()
        self._forget()

    def _forget(self) -> None:
        if self._transport.is_closing() and self._answering is None:
            self._shared.connections.discard(self)

    def _read_on_behind_a_call(self) -> None:
        """Keeps reading, to notice a disconnect, but only up to a limit: the messages must not pile up."""
        if self._splitter.size > READ_AHEAD_BYTES:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
        if self._timer is None and (self._said_all or self._splitter.size > READ_AHEAD_BYTES):
            self._look()

    def _look(self) -> None:
        """Ends a stream whose client is gone; otherwise checks again later."""
        self._timer = None
        if self._lost or self._leaving or self._answering is None:
            return
        if peers.hung_up(self._transport.get_extra_info("socket")):
            self._lost = True
            self.end_stream()
        else:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    async def _answer(self, frame: bytes) -> None:
        client.set(self._client)
        try:
            if len(frame) <= LARGE_BYTES:
                await self._shared.pace.step()
                call = read(frame)
            else:
                async with self._shared.large:
                    await asyncio.sleep(0)
                    began = self._loop.time()
                    call = read(frame)
                    await asyncio.sleep(self._loop.time() - began)  # large messages take half of the time at most
        except FrameError as error:
            self._refuse(_malformed(error))
            return
        self._begun = True
        answer = _Silent() if call.oneway else self
        try:
            route, parameters = find(call, self._shared.routes)
            self._streams = route.method.stream
            if self._streams and self._lost:
                self._splitter = Splitter()
                return
            reply = await route.handler(parameters, self._continue)
            await answer.send({"parameters": reply})
        except FluxgymError as error:
            await answer.send(_failure(error))
        except OSError as error:
            # The system rejected a path. Whoever gave that, it is not a bug in the daemon.
            log.warning("%s failed: %s", call.method, error)
            where = f"{error.filename}: " if error.filename is not None else ""
            sentence = f"The system refused what this call needs: {where}{error.strerror or error}."
            await answer.send(_failure(StorageFailed(sentence)))
        except Exception as error:
            log.exception("%s failed", call.method)
            await answer.send(
                _failure(InternalError(f"The daemon failed on this call: {type(error).__name__}; see its log."))
            )

    # -- the replies ---------------------------------------------------------------------------------------------

    async def _continue(self, reply: msgspec.Struct | msgspec.Raw) -> None:
        """Sends one of many replies. Small ones of the same turn of the loop are written together."""
        await self._shared.pace.step()
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered += encode({"parameters": reply, "continues": True})
        if len(self._gathered) > GATHER_BYTES:
            self._flush()
        if self._unread is not None:
            await self._unread

    async def send(self, message: dict[str, Any]) -> None:
        """Sends the last reply to a call. Returns when the client may be sent more."""
        self._gathered += encode(message)
        self._flush()
        if self._unread is not None:
            await self._unread

    def _flush(self) -> None:
        if self._gathered and not self._lost and not self._transport.is_closing():
            self._transport.write(bytes(self._gathered))
            self._count()
        self._gathered.clear()

    def _refuse(self, error: FluxgymError) -> None:
        """Sends the error and closes. Varlink requires a service to close after a malformed message."""
        self._gathered += encode(_failure(error))
        self._flush()
        self._leave()

    def _refuse_calls(self) -> None:
        self._refuse(Leaving("The daemon is shutting down; try again."))

    def _leave(self) -> None:
        """Closes, and aborts if the client is too slow to read the rest: until then the connection takes up room."""
        self._leaving = True
        self._splitter = Splitter()
        self.end_stream()
        self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
        if not self._lost:
            self._timer = self._loop.call_later(LEAVE_SECONDS, self._transport.abort)

    def _count(self) -> None:
        if not self._lost:
            unread = self._transport.get_write_buffer_size()
            self._room.holds(self, self._splitter.size + self._answered_bytes + unread)


class _Silent:
    """Drops the answer to a oneway call."""

    async def send(self, message: dict[str, Any]) -> None:
        pass


def _failure(error: FluxgymError) -> dict[str, Any]:
    return {"error": error.wire_name, "parameters": error.parameters()}


def _malformed(error: FrameError) -> InvalidParameter:
    return InvalidParameter(str(error), parameter=f"message: {error}")
