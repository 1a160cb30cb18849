# SPDX-License-Identifier: Apache-2.0
"""Tests of the text that a job trains, made from a user's caption."""

import pytest

from fluxgymd.snapshots.captions import Captions, Lines, compose

JOINED = Captions(lines=Lines.JOINED)
EACH = Captions(lines=Lines.EACH)
FIRST = Captions(lines=Lines.JOINED, trigger="c4t")


@pytest.mark.parametrize(
    ("text", "composed"),
    [
        ("a cat\n", "a cat"),
        ("a cat,\non a mat.\n", "a cat, on a mat."),
        ("a cat\r\n\r\n  on a mat \rat night", "a cat on a mat at night"),
        ("a\u2028b\x0cc", "a\u2028b\x0cc"),  # the trainers do not end a line there
        ("", ""),
        (" \n\n", " \n\n"),  # the trainer refuses it, and names it
    ],
)
def test_line_breaks_become_single_spaces(text: str, composed: str) -> None:
    assert compose(text, JOINED) == composed


def test_with_wildcards_each_line_stays_a_caption() -> None:
    assert compose("a cat\n\n a {red|blue} mat \n", EACH) == "a cat\na {red|blue} mat"


def test_a_job_of_an_earlier_version_keeps_every_byte() -> None:
    assert compose("a cat\n\n on a mat\r\n", Captions()) == "a cat\n\n on a mat\r\n"


@pytest.mark.parametrize(
    ("line", "composed"),
    [
        ("a cat", "c4t, a cat"),
        ("c4t", "c4t"),
        ("c4t, a cat", "c4t, a cat"),
        ("c4t a cat", "c4t a cat"),  # as the older program's captioner writes it
        ("C4T. A cat", "c4t. A cat"),
        ("c4t's tail", "c4t's tail"),
        ("c4ts are here", "c4t, c4ts are here"),
        ("c4t_2", "c4t, c4t_2"),
        ("c4té", "c4t, c4té"),
        ("a c4t", "c4t, a c4t"),
    ],
)
def test_the_trigger_word_is_at_the_front_once(line: str, composed: str) -> None:
    assert compose(line, FIRST) == composed


def test_a_trigger_word_in_another_unicode_form_is_recognized() -> None:
    for trigger in ("caf\u00e9", "cafe\u0301"):
        how = Captions(lines=Lines.JOINED, trigger=trigger)
        assert compose("cafe\u0301, a cup", how) == compose("caf\u00e9, a cup", how) == f"{trigger}, a cup"


def test_each_line_that_may_be_drawn_has_the_trigger_word() -> None:
    how = Captions(lines=Lines.EACH, trigger="c4t", separator=";")
    assert compose("a cat\nc4t; a mat", how) == "c4t; a cat\nc4t; a mat"
