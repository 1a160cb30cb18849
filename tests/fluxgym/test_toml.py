# SPDX-License-Identifier: Apache-2.0
"""Whatever a user writes, the parser says what is wrong with it and raises no other error; each key has its line."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgym import toml
from tests.fluxgym.broken_toml import BROKEN


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_every_broken_text_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(toml.NotToml, match=r"^is not valid TOML"):
        toml.parse(text)


def test_a_correct_text_is_read() -> None:
    assert toml.parse('a.b.c = "' + "x." * 99 + '"')
    assert toml.parse('[a]\nb = [1, 2.5, "c", true]') == {"a": {"b": [1, 2.5, "c", True]}}


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a = 1\nb = 2", "b", 2),
        ("a = 1\n[t]\na = 2", "a", 1),
        ("a = 1\n[t]\na = 2", "t.a", 3),
        ("\nt.a = 2", "t.a", 2),
        ("[t]\n\n'u'.\"a\" = 2", "t.u.a", 3),
        ("[t]\n[ t.u ]\na = 2", "t.u.a", 3),
        ("a = 1\nb = 2", "c", 1),
    ],
)
def test_the_line_of_a_key_is_found(text: str, key: str, line: int) -> None:
    assert toml.line_of(text, key) == line


@settings(deadline=None)
@given(st.text(st.sampled_from("[]{}=.\"'\n\\u#_-+:T019eExbntru, "), max_size=60))
def test_any_text_is_toml_or_raises_that_error(text: str) -> None:
    with suppress(toml.NotToml):
        toml.parse(text)
