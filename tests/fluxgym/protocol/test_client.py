# SPDX-License-Identifier: Apache-2.0
"""The client's connection to a peer that breaks the protocol: always DaemonUnreachable, never a wrong answer.

The tests have a peer of their own, because the real daemon does none of this. tests/fluxgymctl tests valid answers,
with the real daemon.
"""

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.errors import DaemonUnreachable, FluxgymError, Leaving, NoSuchJob, Overloaded, UnknownError
from fluxgym.protocol import calls
from fluxgym.protocol.client import Connection
from fluxgym.protocol.framing import decode
from fluxgym.protocol.methods import (
    CHECKPOINTS,
    DESCRIBE,
    LIST,
    REMOVE,
    JobName,
    ListParameters,
    RemoveParameters,
    RemoveReply,
)
from tests.harness.waiting import join


class Peer:
    """Answers the first call with `answer` and closes the connection. `call`: what it has received."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        self.path = folder / "s"
        self.call = b""
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            while not self.call.endswith(b"\0"):
                self.call += connection.recv(4096)
            connection.sendall(self._answer)

    def close(self) -> None:
        join(self._thread)
        self._listener.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fluxgym-test-") as name:
        yield Path(name)


def describe(folder: Path, answer: bytes) -> object:
    peer = Peer(folder, answer)
    try:
        with Connection(peer.path) as connection:
            return connection.call(DESCRIBE, JobName(name="a"))
    finally:
        peer.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "it closed the connection"),
        (b'{"parameters":', "it closed the connection"),
        (b"\0", "not JSON"),
        (b"[]\0", "not a JSON object"),
        (b'{"parameters":{"job":{},"job":{}}}\0', "twice"),
        (b'{"parameters":{}}\0', "its answer to org.fluxgym.Jobs.Describe cannot be read"),
        (b'{"parameters":{"job":{"context":{"name":5},"runtime":{}}}}\0', "cannot be read"),
        (b'{"parameters":{"job":null}}\0', "cannot be read"),
    ],
)
def test_an_unreadable_answer_counts_as_no_answer(folder: Path, answer: bytes, says: str) -> None:
    with pytest.raises(DaemonUnreachable) as error:
        describe(folder, answer)
    assert says in error.value.message
    assert str(folder / "s") in error.value.message


def test_an_endless_answer_is_cut_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "REPLY_LIMIT", 1000)
    with pytest.raises(DaemonUnreachable, match="longer than 1000 bytes"):
        describe(folder, b'{"parameters":' + b" " * 2000)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (b'{"error":"org.fluxgym.Jobs.NoSuchJob","parameters":{"name":"a","message":"No a."}}\0', NoSuchJob, "No a."),
        (b'{"error":"org.fluxgym.Jobs.Later","parameters":{"message":"It is new."}}\0', UnknownError, "It is new."),
        (b'{"error":"org.fluxgym.Jobs.Later"}\0', UnknownError, "The daemon answered Later."),
    ],
)
def test_an_error_is_raised_with_its_sentence(
    folder: Path, answer: bytes, kind: type[FluxgymError], says: str
) -> None:
    with pytest.raises(FluxgymError) as error:
        describe(folder, answer)
    assert (type(error.value), error.value.message) == (kind, says)


def test_a_stream_ends_with_the_reply_that_does_not_continue(folder: Path) -> None:
    peer = Peer(folder, b'{"parameters":{},"continues":true}\0' * 2 + b'{"parameters":{}}\0{"parameters":{}}\0')
    with Connection(peer.path) as connection:
        assert len(list(connection.stream(LIST, ListParameters()))) == 3
    peer.close()
    assert decode(peer.call.removesuffix(b"\0")) == {
        "method": "org.fluxgym.Jobs.List",
        "parameters": {},
        "more": True,
    }


def test_a_stream_that_breaks_off_is_an_error_and_not_an_end(folder: Path) -> None:
    peer = Peer(folder, b'{"parameters":{},"continues":true}\0')
    with Connection(peer.path) as connection:
        replies = connection.stream(LIST, ListParameters())
        next(replies)
        with pytest.raises(DaemonUnreachable, match="it closed the connection"):
            next(replies)
    peer.close()


@pytest.mark.parametrize("answer", [b"{}\0", b'{"parameters":null}\0', b'{"parameters":{"later":1}}\0'])
def test_an_empty_reply_may_be_written_in_any_way(folder: Path, answer: bytes) -> None:
    peer = Peer(folder, answer)
    with Connection(peer.path) as connection:
        assert connection.call(REMOVE, RemoveParameters(name="a")) == RemoveReply()
    peer.close()


def test_parameters_that_are_not_an_object_count_as_no_answer(folder: Path) -> None:
    peer = Peer(folder, b'{"parameters":[1]}\0')
    with Connection(peer.path) as connection, pytest.raises(DaemonUnreachable, match="cannot be read"):
        connection.call(CHECKPOINTS, JobName(name="a"))
    peer.close()


def test_without_a_socket_there_is_no_daemon(folder: Path) -> None:
    with pytest.raises(DaemonUnreachable, match=r"No daemon answers at .*/s \(No such file or directory\); start it"):
        Connection(folder / "s")


def test_a_client_that_is_refused_before_it_has_sent_anything_is_told_why(folder: Path) -> None:
    """The connection is already closed when the client calls. The reason can still be read from it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        with Connection(folder / "s") as connection:
            peer, _ = listener.accept()
            peer.sendall(b'{"error":"org.fluxgym.Machine.Overloaded","parameters":{"message":"Too many."}}\0')
            peer.close()
            with pytest.raises(Overloaded, match=r"^Too many\.$"):
                connection.call(DESCRIBE, JobName(name="a"))
        with Connection(folder / "s") as connection:
            listener.accept()[0].close()
            with pytest.raises(DaemonUnreachable):
                connection.call(DESCRIBE, JobName(name="a"))


LEAVING = b'{"error":"org.fluxgym.Machine.Leaving","parameters":{"message":"It leaves."}}\0'


def serve(listener: socket.socket, answers: list[bytes]) -> threading.Thread:
    """Serves one client after another; sends each its answer after receiving its call."""

    def run() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_call_that_a_leaving_daemon_has_not_begun_is_sent_to_the_next(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        daemons = serve(
            listener, [LEAVING, b'{"parameters":{}}\0', b'{"parameters":{},"continues":true}\0' + LEAVING]
        )
        with Connection(folder / "s") as connection:
            assert connection.call(REMOVE, RemoveParameters(name="a")) == RemoveReply()
        with Connection(folder / "s") as connection:
            replies = connection.stream(LIST, ListParameters())
            next(replies)
            with pytest.raises(Leaving):  # part of the stream has arrived, so the caller has to decide
                next(replies)
        join(daemons)
        daemons = serve(listener, [LEAVING] * calls.RESTARTS)
        with Connection(folder / "s") as connection, pytest.raises(DaemonUnreachable, match="keeps stopping"):
            connection.call(REMOVE, RemoveParameters(name="a"))
        join(daemons)


def test_a_leaving_daemon_without_a_successor_counts_as_no_daemon(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        with Connection(folder / "s") as connection:
            daemon, _ = listener.accept()
            listener.close()
            with daemon:
                daemon.sendall(LEAVING)
            with pytest.raises(DaemonUnreachable, match="No daemon answers at"):
                connection.call(REMOVE, RemoveParameters(name="a"))
