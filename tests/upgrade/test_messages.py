# SPDX-License-Identifier: Apache-2.0
"""Tests that an older client and this daemon understand each other, and that this client understands an older or
newer daemon (promise 9)."""

import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.errors import WIRE_ERRORS, FluxgymError
from fluxgym.protocol.client import Connection
from fluxgym.protocol.framing import encode
from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon
from tests.data.frozen import record
from tests.fluxgym.described import METHODS
from tests.harness.waiting import join
from tests.upgrade.shapes import missing

Exchange = dict[str, Any]

OTHER_ERRORS = {
    # If dataset and models are missing, an earlier version named only the models. Now both are named, first the
    # dataset.
    ("org.fluxgym.Jobs.Submit", "org.fluxgym.Jobs.InvalidDataset"),
}
"""Method and error: errors that an earlier version did not return for this call, although its clients know them."""

ADDED = {
    "org.fluxgym.Machine.Continue",
    *(
        f"org.fluxgym.Jobs.{name}"
        for name in (
            "TrainerOptions",
            "Presets",
            "SavePreset",
            "RemovePreset",
            "Compose",
            "Convert",
            "Export",
            "Plan",
            "Annotate",
            "PruneStates",
            "Restore",
            "Removed",
            "SaveNow",
            "SampleNow",
            "SetWatchdog",
            "Metrics",
            "Samples",
            "Files",
            "Thumbnail",
            "SearchLog",
            "Events",
        )
    ),
    *(f"org.fluxgym.Machine.{name}" for name in ("Watch", "GpuHistory", "Settings", "TestHook", "Check")),
    *(name for name in METHODS if name.startswith("org.fluxgym.Datasets.")),
}
"""Methods that were added after the calls were frozen."""


def exchanges(version: Path) -> list[Exchange]:
    return [json.loads(line) for line in (version / "calls.jsonl").read_text().splitlines()]


def test_promise_9_the_calls_of_an_older_client_are_answered_with_no_less(
    version: Path, daemon: RunningDaemon
) -> None:
    for exchange in exchanges(version):
        call = exchange["call"]
        now = list(record.answers(daemon.socket, call))
        told = {"call": call, "answers": now}
        error = now[-1].get("error")
        assert error == exchange["answers"][-1].get("error") or (call["method"], error) in OTHER_ERRORS, told
        assert not missing(exchange["answers"], now), told


def test_the_frozen_calls_cover_every_method(version: Path) -> None:
    called = {exchange["call"]["method"] for exchange in exchanges(version)}
    assert called | ADDED >= METHODS.keys()


class OlderDaemon:
    """A daemon that sends these answers to the first call."""

    def __init__(self, folder: Path, answers: list[dict[str, Any]]) -> None:
        self.path = folder / "s"
        self._frames = b"".join(encode(answer) for answer in answers)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            call = b""
            while not call.endswith(b"\0"):
                call += connection.recv(4096)
            connection.sendall(self._frames)

    def close(self) -> None:
        join(self._thread)
        self._listener.close()
        self.path.unlink()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fg-") as name:
        yield Path(name)


def read(folder: Path, exchange: Exchange) -> list[msgspec.Struct]:
    """Returns an older daemon's answers as this client decodes them. Raises the error that the daemon returned."""
    call, answers = exchange["call"], [dict(answer) for answer in exchange["answers"]]
    answers[-1].pop("continues", None)  # only the beginning of a Watch was recorded
    method = METHODS[call["method"]]
    parameters = msgspec.convert(call["parameters"], method.parameters)
    daemon = OlderDaemon(folder, answers)
    try:
        with Connection(daemon.path) as connection:
            if call.get("more"):
                return list(connection.stream(method, parameters))
            return [connection.call(method, parameters)]
    finally:
        daemon.close()


def known(version: Path) -> list[Exchange]:
    return [exchange for exchange in exchanges(version) if exchange["call"]["method"] in METHODS]


def test_promise_9_the_answers_of_an_older_daemon_are_read(version: Path, folder: Path) -> None:
    for exchange in known(version):
        error = exchange["answers"][-1].get("error")
        if error is not None:
            with pytest.raises(WIRE_ERRORS[error]) as refusal:
                read(folder, exchange)
            assert refusal.value.message
            continue
        for reply, answer in zip(read(folder, exchange), exchange["answers"], strict=True):
            again = json.loads(msgspec.json.encode(reply))
            assert not missing(_without_defaults(answer["parameters"]), again), exchange["call"]


def test_promise_9_fields_states_and_errors_of_a_newer_daemon_do_not_stop_a_client(
    version: Path, folder: Path
) -> None:
    for exchange in known(version):
        newer = {"call": exchange["call"], "answers": [_newer(answer) for answer in exchange["answers"]]}
        if "error" in exchange["answers"][-1]:
            with pytest.raises(FluxgymError):
                read(folder, newer)
            continue
        for reply in read(folder, newer):
            job = getattr(reply, "job", None)
            assert job is None or job.runtime.state is State.UNKNOWN


def _newer(value: Any) -> Any:
    if isinstance(value, list):
        return [_newer(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _newer(item) for key, item in value.items()}
    if "stepsLost" in changed:
        changed["state"] = "dreaming"
    # trainerOptions, watchdogLimits and Info's jobs have arbitrary keys, so a newer version adds no fields to them.
    is_table = bool(value) and all(isinstance(item, (int, float, list)) for item in value.values())
    return changed if is_table else changed | {"ofTomorrow": {"deep": [1, None]}}


def _without_defaults(value: Any) -> Any:
    """Returns the value without empty fields, which an answer may omit."""
    if isinstance(value, dict):
        return {key: _without_defaults(item) for key, item in value.items() if item not in (None, [], {}, False)}
    return [_without_defaults(item) for item in value] if isinstance(value, list) else value
