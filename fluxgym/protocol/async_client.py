# SPDX-License-Identifier: Apache-2.0
"""The asyncio client: like client.py, for a program that serves many clients of its own at once.

Each call and each stream has a connection of its own, which closes at its end or when its task is cancelled.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from fluxgym.errors import AnswerMissing, DaemonUnreachable, Leaving, Overloaded
from fluxgym.protocol import calls
from fluxgym.protocol.framing import FrameError, Splitter
from fluxgym.protocol.methods import Method, Parameters, Reply

SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


class AsyncClient:
    """Calls the daemon at a socket. Errors are those of client.Connection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def call(self, method: Method[Parameters, Reply], parameters: Parameters) -> Reply:
        """One call with one reply. An error reply is raised as its exception."""
        connection, reply, _ = await self._begin(method, parameters, more=False)
        connection.close()
        return reply

    async def stream(self, method: Method[Parameters, Reply], parameters: Parameters) -> AsyncGenerator[Reply, None]:
        """One call with many replies, until the daemon ends the stream. Close it (`contextlib.aclosing`) if you stop
        reading before that."""
        connection, reply, continues = await self._begin(method, parameters, more=True)
        try:
            yield reply
            while continues:
                reply, continues = await connection.receive(method)
                yield reply
        finally:
            connection.close()

    async def lasting(
        self,
        method: Method[Parameters, Reply],
        parameters: Callable[[], Parameters],
        *,
        away: Callable[[DaemonUnreachable | Overloaded], None] = lambda _: None,
    ) -> AsyncGenerator[Reply | None, None]:
        """A stream without end: after a restart of the daemon, it begins again. The replies, and None after each end.
        `parameters`: those of the next call. `away` is called while no daemon answers. Any other error ends the
        stream."""
        pause = SHORTEST_PAUSE_SECONDS
        while True:
            began = asyncio.get_running_loop().time()
            try:
                async with contextlib.aclosing(self.stream(method, parameters())) as replies:
                    async for reply in replies:
                        yield reply
            except (DaemonUnreachable, Overloaded) as error:
                away(error)
            yield None
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE_SECONDS:
                pause = SHORTEST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _begin(
        self, method: Method[Parameters, Reply], parameters: Parameters, *, more: bool
    ) -> tuple["_Connection", Reply, bool]:
        """Sends the call, and returns its connection, its first reply and whether more will come."""
        frame = calls.call_frame(method, parameters, more=more)
        for _ in range(calls.RESTARTS):
            connection = await _Connection.to(self.path)
            try:
                await connection.send(frame)
                reply, continues = await connection.receive(method)
            except Leaving:
                connection.close()
            except BaseException:
                connection.close()
                raise
            else:
                return connection, reply, continues
        raise calls.keeps_stopping(self.path)


class _Connection:
    def __init__(self, path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer
        self._splitter = Splitter(calls.REPLY_LIMIT)

    @classmethod
    async def to(cls, path: Path) -> "_Connection":
        try:
            return cls(path, *await asyncio.open_unix_connection(os.fspath(path)))
        except OSError as error:
            raise calls.unreachable(path, error) from None

    def close(self) -> None:
        self._writer.close()

    async def send(self, frame: bytes) -> None:
        self._writer.write(frame)
        # A daemon that refuses a client says why before it closes: `receive` reads it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self._writer.drain()

    async def receive(self, method: Method[Parameters, Reply]) -> tuple[Reply, bool]:
        try:
            while (frame := self._splitter.next()) is None:
                data = await self._reader.read(calls.READ_BYTES)
                if not data:
                    raise self._gone("it closed the connection")
                self._splitter.feed(data)
        except (OSError, FrameError) as error:
            raise self._gone(str(error)) from None
        return calls.read_reply(self._path, method, frame)

    def _gone(self, why: str) -> AnswerMissing:
        return calls.gone(self._path, why)
