# SPDX-License-Identifier: Apache-2.0
"""Messages that are none, over a real socket: each is answered by an error that names the fault, and the daemon goes
on; what is whole and small enough is answered."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluxgym.framing import MESSAGE_LIMIT
from fluxgymd.api.calls import BRACKETS, COMMAS
from tests.daemon.running import RunningDaemon
from tests.wire.attacks import INFO

LIST = "org.fluxgym.Jobs.List"


def answers(daemon: RunningDaemon, sent: bytes) -> list[dict[str, Any]]:
    """All that comes back to a client that sends this and says that it was all."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(daemon.socket))
        received = b""
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all of it was read; the answer is there
        while True:
            try:
                data = client.recv(1 << 16)
            except ConnectionResetError:
                break  # what it did not read of ours makes the kernel say so
            if not data:
                break
            received += data
    assert received == b"" or received.endswith(b"\0")
    return [json.loads(frame) for frame in received.split(b"\0")[:-1]]


def padded(size: int) -> bytes:
    """A good call of exactly so many bytes."""
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
        (call('{"x":' + "[" * 5000 + "]" * 5000 + "}") + b"\0", "nested too deep"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"\0", "nested too deep"),
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


def test_promise_10_a_message_of_the_limit_is_answered_and_one_byte_more_is_not(daemon: RunningDaemon) -> None:
    (answer,) = answers(daemon, padded(MESSAGE_LIMIT) + b"\0")
    assert answer["parameters"]["version"]
    (answer,) = answers(daemon, padded(MESSAGE_LIMIT + 1) + b"\0")
    assert "error" in answer


def test_promise_10_half_a_message_is_no_call(daemon: RunningDaemon) -> None:
    assert answers(daemon, INFO[:-1]) == []
    assert answers(daemon, INFO + INFO[:-1])[1:] == []
    assert daemon.info().version


def test_promise_10_a_call_in_single_bytes_is_answered(daemon: RunningDaemon) -> None:
    """Each byte is read before the next one is sent: meanwhile another client is answered."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
METHODS = st.sampled_from(
    ["org.fluxgym.Machine.Info", "org.varlink.service.GetInfo", LIST, "org.fluxgym.Jobs.Describe", "a.B", "", "."]
)
CALLS = st.fixed_dictionaries(
    {"method": METHODS | JSON},
    optional={"parameters": JSON, "more": JSON, "oneway": JSON, "upgrade": JSON, "x": JSON},
).map(lambda value: json.dumps(value).encode())
FRAMES = CALLS | st.binary(max_size=60) | st.builds(bytes.__add__, CALLS, st.binary(max_size=3))


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """One daemon for all examples."""
    with RunningDaemon(tmp_path_factory.mktemp("d"), arguments=("--supervisor", "process")) as running:
        yield running


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 300), max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_promise_10_any_bytes_get_answers_or_a_named_end(
    lasting: RunningDaemon, frames: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(frame + b"\0" for frame in frames)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(lasting.socket))
        ends = sorted(min(cut, len(stream)) for cut in cuts)
        received = b""
        try:
            for start, end in zip([0, *ends], [*ends, len(stream)], strict=True):
                client.sendall(stream[start:end])
            client.shutdown(socket.SHUT_WR)
            while data := client.recv(1 << 16):
                received += data
        except (BrokenPipeError, ConnectionResetError):
            pass
    for frame in received.split(b"\0")[:-1]:
        answer = json.loads(frame)
        assert set(answer) <= {"error", "parameters", "continues"}
        assert answer.get("error") != "org.fluxgym.Machine.InternalError", stream
    assert lasting.info().version
