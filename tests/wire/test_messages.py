# SPDX-License-Identifier: Apache-2.0
"""Invalid messages over a real socket: each is answered with an error that names the fault, and the daemon continues.
Messages that are complete and small enough are answered. tests/fuzz draws more of them."""

import json
import socket
from typing import Any

import pytest

from fluxgym.protocol.framing import MESSAGE_LIMIT
from fluxgymd.api.calls import BRACKETS, COMMAS
from tests.daemon.running import RunningDaemon
from tests.fuzz.talking import converse
from tests.harness.waiting import DEADLINE_SECONDS
from tests.wire.attacks import INFO

LIST = "org.fluxgym.Jobs.List"


def answers(daemon: RunningDaemon, sent: bytes) -> list[dict[str, Any]]:
    """All answers to a client that sends this and then closes its sending side."""
    received = converse(daemon.socket, [sent])
    assert received == b"" or received.endswith(b"\0")
    return [json.loads(frame) for frame in received.split(b"\0")[:-1]]


def padded(size: int) -> bytes:
    """A valid call of exactly `size` bytes."""
    call = b'{"method":"org.fluxgym.Machine.Info"}'
    return call[:-1] + b" " * (size - len(call)) + b"}"


def call(parameters: str, method: str = LIST) -> bytes:
    return f'{{"method":"{method}","more":true,"parameters":{parameters}}}'.encode()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"\xff\xfe\0", "not UTF-8 at byte 0"),
        (b"\0", "not JSON"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\0", "not JSON"),
        (b'"a string"\0', "not a JSON object"),
        (call('{"limit":1,"limit":2}') + b"\0", "the key 'limit' twice"),
        (call('{"limit":NaN}') + b"\0", "NaN"),
        (call('{"limit":1e999}') + b"\0", "too large"),
        (call('{"limit":' + "1" * 5000 + "}") + b"\0", "too many digits"),
        (call('{"before":"\\ud800"}') + b"\0", "half a character"),
        (call('{"x":' + "[" * 5000 + "]" * 5000 + "}") + b"\0", "nested too deeply"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"\0", "nested too deeply"),
        (call('{"x":[' + "{}," * BRACKETS + "1]}") + b"\0", f"more than {BRACKETS} brackets and colons"),
        (call('{"x":[' + "1," * COMMAS + "1]}") + b"\0", f"more than {COMMAS} commas"),
        (padded(MESSAGE_LIMIT + 1) + b"\0", f"longer than {MESSAGE_LIMIT} bytes"),
        (b"x" * (MESSAGE_LIMIT + 1), f"longer than {MESSAGE_LIMIT} bytes"),
        (b'{"method":"a.B","more":true,"oneway":true}\0', "more than one of more, oneway and upgrade"),
        (b'{"method":"a.B","more":1}\0', "not a Varlink call"),
        (b'{"method":"a.B","surprise":1}\0', "not a Varlink call"),
        (b'{"method":"a.B","parameters":[]}\0', "not an object"),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
def test_promise_10_a_malformed_message_is_named_and_ends_its_connection_alone(
    daemon: RunningDaemon, sent: bytes, said: str
) -> None:
    (answer,) = answers(daemon, sent + INFO)
    assert answer["error"] == "org.varlink.service.InvalidParameter"
    assert said in answer["parameters"]["parameter"]
    assert daemon.info().version


def test_promise_10_a_message_at_the_limit_is_answered_and_one_byte_more_is_not(daemon: RunningDaemon) -> None:
    (answer,) = answers(daemon, padded(MESSAGE_LIMIT) + b"\0")
    assert answer["parameters"]["version"]
    (answer,) = answers(daemon, padded(MESSAGE_LIMIT + 1) + b"\0")
    assert "error" in answer


def test_promise_10_half_a_message_is_not_a_call(daemon: RunningDaemon) -> None:
    assert answers(daemon, INFO[:-1]) == []
    assert answers(daemon, INFO + INFO[:-1])[1:] == []
    assert daemon.info().version


def test_promise_10_a_call_in_single_bytes_is_answered(daemon: RunningDaemon) -> None:
    """Each byte is read before the next one is sent, because another client gets an answer in between."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_SECONDS)
        client.connect(str(daemon.socket))
        for index in range(len(INFO)):
            client.sendall(INFO[index : index + 1])
            assert daemon.info().version
        assert json.loads(client.recv(1 << 16)[:-1])["parameters"]["version"]


def test_promise_10_pipelined_calls_are_answered_in_their_order(daemon: RunningDaemon) -> None:
    names = [f"job-{number}" for number in range(3000)]
    calls = [f'{{"method":"org.fluxgym.Jobs.Describe","parameters":{{"name":"{name}"}}}}\0' for name in names]
    found = answers(daemon, "".join(calls).encode())
    assert [answer["parameters"]["name"] for answer in found] == names
