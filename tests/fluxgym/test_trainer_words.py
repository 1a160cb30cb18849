# SPDX-License-Identifier: Apache-2.0
"""The trainer's flags, from TOML and from the command line."""

from datetime import UTC, datetime

import pytest

from fluxgym import trainer_words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, []),
        (False, ["false"]),
        (16, ["16"]),
        (-1, ["-1"]),
        (1e-4, ["0.0001"]),
        (2.0, ["2.0"]),
        ("adamw", ["adamw"]),
        ("two words", ["two words"]),
        ("", [""]),
        (["x=1", "y=2"], ["x=1", "y=2"]),
        ([1, 0.5, "a"], ["1", "0.5", "a"]),
        ([], []),
    ],
)
def test_a_toml_value_becomes_words(value: object, words: list[str]) -> None:
    assert trainer_words.from_toml(value) == words


@pytest.mark.parametrize(
    "value", [{"a": 1}, [[1]], [True], [{}], float("nan"), float("inf"), datetime(2026, 1, 1, tzinfo=UTC)]
)
def test_a_toml_value_that_is_not_words_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the caller writes the message
        trainer_words.from_toml(value)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("highvram", "highvram", []),
        ("network_alpha=16", "network_alpha", ["16"]),
        ("network_args=x=1 y=2", "network_args", ["x=1", "y=2"]),
        ("comment='two words'", "comment", ["two words"]),
        ("comment=''", "comment", [""]),
    ],
)
def test_an_option_has_a_name_and_words(text: str, name: str, words: list[str]) -> None:
    assert trainer_words.from_text(text) == (name, words)


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "has no name"), ("=1", "has no name"), ("a=", "write a for a switch"), ("a='x", "No closing quotation")],
)
def test_an_option_without_a_name_or_words_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        trainer_words.from_text(text)
