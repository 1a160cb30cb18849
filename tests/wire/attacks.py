# SPDX-License-Identifier: Apache-2.0
"""Hostile clients: `python -m tests.wire.attacks NAME SOCKET JOB`.

An attack prints "attacking" once it has reached its full strength, and continues until it is killed. It reopens each
connection that the daemon closes.
"""

from __future__ import annotations

import random
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle, repeat
from pathlib import Path

from fluxgym.protocol.framing import MESSAGE_LIMIT

INFO = b'{"method":"org.fluxgym.Machine.Info"}\0'
ONEWAY = b'{"method":"org.fluxgym.Machine.Info","oneway":true}\0'
WATCH = b'{"method":"org.fluxgym.Jobs.Watch","more":true}\0'
LIST = b'{"method":"org.fluxgym.Jobs.List","more":true}\0'


class Clients:
    """`number` connections, each of which is reopened if it is lost."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._clients = [self._connect() for _ in range(number)]
        self._turn = 0

    def _connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self._path))
        client.setblocking(False)
        return client

    def each(self, work: Callable[[socket.socket], None]) -> None:
        """Calls `work` on each connection. Nothing blocks."""
        for index, client in enumerate(self._clients):
            try:
                with suppress(BlockingIOError):
                    work(client)
            except OSError:
                client.close()
                with suppress(OSError):  # the daemon's queue of new connections is full at the moment
                    self._clients[index] = self._connect()


def send(data: bytes) -> Callable[[socket.socket], None]:
    def work(client: socket.socket) -> None:
        client.send(data)

    return work


def read(client: socket.socket) -> None:
    if client.recv(1 << 16) == b"":
        raise ConnectionError


def again_and_again(path: Path, number: int, *steps: Callable[[socket.socket], None]) -> Iterator[None]:
    """All clients take the steps in turn, forever."""
    clients = Clients(path, number)
    while True:
        for step in steps:
            clients.each(step)
        yield


def thousand_idle(path: Path, _: str) -> Iterator[None]:
    return again_and_again(path, 1000, read)


def connect_and_leave(path: Path, _: str) -> Iterator[None]:
    for data in cycle((b"", INFO, WATCH, INFO[:20])):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(data)
        yield


def garbage(path: Path, _: str) -> Iterator[None]:
    chance = random.Random(1)
    clients = Clients(path, 50)
    while True:
        clients.each(send(chance.randbytes(4000) + b"\0"))
        clients.each(read)
        yield


def half_messages(path: Path, _: str) -> Iterator[None]:
    """400 MB of messages that never end."""
    clients = Clients(path, 400)
    clients.each(send(b'{"method":"'))
    while True:
        for part in [b"x" * (MESSAGE_LIMIT // 16 - 100)] * 16:
            clients.each(send(part))
        yield


def byte_by_byte(path: Path, _: str) -> Iterator[None]:
    clients = Clients(path, 200)
    while True:
        for index in range(len(INFO) - 1):
            clients.each(send(INFO[index : index + 1]))
        yield


def never_read_a_watch(path: Path, _: str) -> Iterator[None]:
    return again_and_again(path, 300, send(WATCH))


def never_read_a_log(path: Path, job: str) -> Iterator[None]:
    call = b'{"method":"org.fluxgym.Jobs.Logs","more":true,"parameters":{"name":"%s","follow":true}}\0' % job.encode()
    return again_and_again(path, 300, send(call))


def pipeline(path: Path, _: str) -> Iterator[None]:
    """Sends call after call and never reads an answer."""
    return again_and_again(path, 100, send(INFO * 1000), send(LIST * 1000))


def oneway(path: Path, _: str) -> Iterator[None]:
    return again_and_again(path, 100, send(ONEWAY * 200))


def costly(path: Path, _: str) -> Iterator[None]:
    """Sends messages that take as long to parse as the limits allow. They are then refused without closing the
    connection."""
    room = MESSAGE_LIMIT - 200
    message = b'{"method":"org.fluxgym.Jobs.List","more":true,"parameters":{"x":[%s1]}}\0' % (b"1," * 199_000)
    padded = message[:-1] + b" " * (room - len(message)) + b"\0"
    rest: dict[socket.socket, bytes] = {}

    def push(client: socket.socket) -> None:
        data = rest.get(client) or padded
        rest[client] = data[client.send(data) :]

    return again_and_again(path, 40, push, read)


def deep(path: Path, _: str) -> Iterator[None]:
    return again_and_again(path, 40, send(b"[" * 200_000 + b"\0"), read)


def half_closed(path: Path, _: str) -> Iterator[None]:
    """The clients have sent everything, closed their sending side, and never read."""

    def say_all(client: socket.socket) -> None:
        client.send(WATCH)
        client.shutdown(socket.SHUT_WR)

    clients = Clients(path, 400)
    clients.each(say_all)
    yield from repeat(None)


def leave_behind_a_stream(path: Path, _: str) -> Iterator[None]:
    """Opens a stream, sends more calls, and disconnects."""
    while True:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.setblocking(False)
            client.send(WATCH + INFO * 4000)
        yield


ATTACKS: dict[str, Callable[[Path, str], Iterator[None]]] = {
    attack.__name__: attack
    for attack in (
        thousand_idle,
        connect_and_leave,
        garbage,
        half_messages,
        byte_by_byte,
        never_read_a_watch,
        never_read_a_log,
        pipeline,
        oneway,
        costly,
        deep,
        half_closed,
        leave_behind_a_stream,
    )
}


def main() -> None:
    name, path, job = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    for number, _ in enumerate(ATTACKS[name](Path(path), job)):
        if number == 2:
            print("attacking", flush=True)


if __name__ == "__main__":
    main()
