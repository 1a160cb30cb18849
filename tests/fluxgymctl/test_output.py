# SPDX-License-Identifier: Apache-2.0
"""Tables and shortened lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgymctl import output

ROWS = [("a", "x"), ("long-name", "a reason that goes on")]


def test_the_columns_of_a_table_are_aligned_without_trailing_blanks() -> None:
    assert output.table(("NAME", "WHY"), ROWS) == [
        "NAME       WHY",
        "a          x",
        "long-name  a reason that goes on",
    ]


@given(st.integers(0, 60))
def test_a_table_fits_the_terminal(width: int) -> None:
    assert all(len(line) <= width for line in output.table(("NAME", "WHY"), ROWS, width=width))


def test_a_table_without_a_terminal_is_not_cut() -> None:
    assert output.table(("A",), [("x" * 500,)])[1] == "x" * 500


@given(st.text(), st.integers(0, 20))
def test_a_text_is_cut_to_its_width_and_no_shorter(text: str, width: int) -> None:
    cut = output.cut(text, width)
    assert len(cut) == min(len(text), width)
    assert cut == text or width < 3 or cut.endswith("...")


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb", "a\rb", "bell\x07", "c1\x9b31m", "nul\x00"])
def test_text_quoted_by_a_daemon_cannot_control_the_terminal(text: str) -> None:
    assert all(sign.isprintable() for sign in output.plain(text))
    assert all(sign.isprintable() for sign in output.table(("A",), [(text,)])[1])
