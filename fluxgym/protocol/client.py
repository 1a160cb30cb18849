# SPDX-License-Identifier: Apache-2.0
"""The client: one connection, calls and streams, blocking. Imports only msgspec, because every command loads it.

A connection carries one stream at a time, since Varlink has no multiplexing: to follow two logs, a program opens two
connections. A daemon that is being stopped refuses a call that it has not begun, and the client sends the call again
to the next daemon. systemd holds the socket, so during a restart a client waits and does not fail.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from fluxgym.errors import AnswerMissing, Leaving
from fluxgym.protocol import calls
from fluxgym.protocol.framing import FrameError, Splitter
from fluxgym.protocol.methods import Method, Parameters, Reply


class Connection:
    """A connection to the daemon. DaemonUnreachable, which says what to do, if no daemon answers; AnswerMissing if it
    goes away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(os.fspath(self.path))
        except OSError as error:
            self._socket.close()
            raise calls.unreachable(self.path, error) from None
        self._splitter = Splitter(calls.REPLY_LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def call(self, method: Method[Parameters, Reply], parameters: Parameters) -> Reply:
        """One call with one reply. An error reply is raised as its exception."""
        reply, _ = self._begin(method, parameters, more=False)
        return reply

    def stream(self, method: Method[Parameters, Reply], parameters: Parameters) -> Iterator[Reply]:
        """One call with many replies, until the daemon ends the stream."""
        reply, continues = self._begin(method, parameters, more=True)
        yield reply
        while continues:
            reply, continues = self._receive(method)
            yield reply

    def _begin(self, method: Method[Parameters, Reply], parameters: Parameters, *, more: bool) -> tuple[Reply, bool]:
        """Sends the call, and returns its first reply and whether more will come."""
        for _ in range(calls.RESTARTS):
            self._send(method, parameters, more=more)
            with contextlib.suppress(Leaving):
                return self._receive(method)
            self.close()
            self._connect()
        raise calls.keeps_stopping(self.path)

    def _send(self, method: Method[Parameters, Reply], parameters: Parameters, *, more: bool) -> None:
        try:
            self._socket.sendall(calls.call_frame(method, parameters, more=more))
        except (BrokenPipeError, ConnectionResetError):
            pass  # a daemon that refuses a client says why before it closes: `_receive` reads it
        except OSError as error:
            raise self._gone(error.strerror) from None

    def _receive(self, method: Method[Parameters, Reply]) -> tuple[Reply, bool]:
        try:
            while (frame := self._splitter.next()) is None:
                data = self._socket.recv(calls.READ_BYTES)
                if not data:
                    raise self._gone("it closed the connection")
                self._splitter.feed(data)
        except (OSError, FrameError) as error:
            raise self._gone(str(error)) from None
        return calls.read_reply(self.path, method, frame)

    def _gone(self, why: str | None) -> AnswerMissing:
        return calls.gone(self.path, why)
