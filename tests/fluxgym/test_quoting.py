# SPDX-License-Identifier: Apache-2.0
"""A wrong value is quoted in a sentence that a person can read, however long the value is."""

import difflib
from collections.abc import Callable
from typing import Any

import pytest

from fluxgym import quoting, watchdog
from fluxgym.errors import FluxgymError, InvalidName
from fluxgym.names import check_name
from fluxgym.protocol import methods as m
from fluxgym.quoting import hint, short
from fluxgymd.api.calls import VarlinkCall, find
from fluxgymd.api.parameters import convert

MEGABYTE = "learning_rate" * 80_000


def test_a_short_text_is_quoted_in_full_and_a_long_one_by_its_beginning_and_length() -> None:
    assert short("x" * quoting.QUOTED) == "x" * quoting.QUOTED
    assert short("é" * 161) == "é" * 80 + "… (161 characters)"


def test_the_nearest_name_is_proposed_or_else_all_of_them() -> None:
    assert hint("learning_rat", ["seed", "learning_rate"], otherwise="") == "did you mean learning_rate?"
    assert hint("x", ["seed"], otherwise="known is seed.") == "known is seed."


@pytest.mark.parametrize(
    "refused",
    [
        lambda: convert({MEGABYTE: 1}, m.JobName),
        lambda: convert({"job": {"name": "a", MEGABYTE: 1}}, m.SubmitParameters),
        lambda: convert({"job": {"name": "a", "model": {MEGABYTE: 1}}}, m.SubmitParameters),
        lambda: find(VarlinkCall(f"org.fluxgym.{MEGABYTE}.Submit", {}, more=False, oneway=False), {}),
        lambda: find(VarlinkCall(f"org.fluxgym.Jobs.{MEGABYTE}", {}, more=False, oneway=False), {}),
        lambda: check_name(MEGABYTE),
        lambda: watchdog.known(MEGABYTE),
    ],
)
def test_promise_10_a_name_of_a_megabyte_is_compared_with_nothing_and_quoted_in_a_sentence(
    refused: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def compare(name: str, *_: Any, **__: Any) -> list[str]:
        compared.append(name)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", compare)
    with pytest.raises((FluxgymError, KeyError)) as error:
        refused()
    assert compared == []
    assert len(str(error.value)) < 2000
    fields = error.value.fields if isinstance(error.value, FluxgymError) else {}
    assert all(len(str(value)) < 300 for value in fields.values())


def test_a_name_of_a_megabyte_gets_a_proposal_that_resembles_it() -> None:
    with pytest.raises(InvalidName) as error:
        check_name("My LoRA " * 100_000)
    assert error.value.fields["proposal"] == "my-lora-my-lora-my-lora-my-lora-my-lora-my-lora-my-lora-my-lora"
