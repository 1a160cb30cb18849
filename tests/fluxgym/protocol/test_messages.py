# SPDX-License-Identifier: Apache-2.0
"""An older client can read a newer daemon's messages, and the other way round (promise 9)."""

from enum import Enum

import msgspec
import pytest

from fluxgym.protocol.messages import Context, ExitKind, Job, OpenEnum, State
from tests.fluxgym.described import TYPES

ENUMS = [kind for kind in TYPES.values() if issubclass(kind, OpenEnum)]

RUNTIME: dict[str, object] = {"id": "1", "state": "running", "submittedAt": 1.0, "home": "/h", "stepsLost": 0}


@pytest.mark.parametrize("enum", ENUMS)
def test_promise_9_an_enum_value_of_a_newer_daemon_reads_as_unknown(enum: type[Enum]) -> None:
    assert msgspec.convert("invented_later", enum) is enum("unknown")
    assert msgspec.convert("unknown", enum) is enum("unknown")


@pytest.mark.parametrize("enum", ENUMS)
def test_an_enum_value_must_still_be_a_string(enum: type[Enum]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(5, enum)


def test_promise_9_fields_of_a_newer_daemon_are_ignored() -> None:
    newer = {
        "context": {"name": "a", "moonPhase": "full"},
        "runtime": {**RUNTIME, "state": "hibernating", "mood": {"deep": [1]}},
        "stars": 5,
    }
    job = msgspec.convert(newer, Job)
    assert job.runtime.state is State.UNKNOWN
    assert job.context == Context(name="a")


def test_absent_values_are_left_out_on_the_wire() -> None:
    context = Context(name="a", save_every_epochs=2)
    assert msgspec.json.encode(context) == b'{"name":"a","saveEveryEpochs":2}'


def test_null_reads_as_absent() -> None:
    assert msgspec.convert({"name": "a", "epochs": None}, Context) == Context(name="a")


def test_what_list_shows_can_be_submitted_again() -> None:
    context = Context(name="a", trainer_options={"network_args": ["x=1", "y=2"], "highvram": []}, epochs=3)
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(context)), Context) == context


def test_an_exit_kind_that_is_unknown_is_a_value_of_its_own() -> None:
    assert ExitKind("unknown") is ExitKind.UNKNOWN
