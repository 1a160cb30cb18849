# SPDX-License-Identifier: Apache-2.0
r"""Lines that a progress bar rewrites."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgymd.core.measures.log_lines import fold, last_state


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("", ""),
        ("a\nb", "a\nb"),
        ("a\r\nb\r\r\nc", "a\nb\nc"),
        ("a\n1%\r2%\r3%\nb\n", "a\n3%\nb\n"),
        ("1%\r2%", "\r2%"),
        ("\r2%", "\r2%"),
        ("1%\r", "1%\r"),
        ("1%\r2%\r", "\r2%\r"),
        ("\r", "\r"),
        ("a\n1%\r2%\r", "a\n2%\r"),
        ("a\n1%\r   \rdone\n", "a\ndone\n"),
    ],
)
def test_only_the_last_state_of_a_line_remains(text: str, folded: str) -> None:
    assert fold(text) == folded


def shown(pieces: list[str]) -> str:
    r"""What is shown by a client that replaces a line when text follows a `\r`."""
    lines, returned = [""], False
    for letter in "".join(pieces):
        if letter == "\n":
            lines.append("")
        elif letter != "\r":
            lines[-1] = letter if returned else lines[-1] + letter
        returned = letter == "\r"
    return "\n".join(lines)


@given(st.lists(st.text("ab\r\n", max_size=12), max_size=6))
def test_a_client_sees_the_same_however_the_log_is_cut(pieces: list[str]) -> None:
    assert shown([fold(piece) for piece in pieces]) == shown(pieces)


@pytest.mark.parametrize(("line", "start"), [(b"", 0), (b"a", 0), (b"a\r", 0), (b"a\rb", 2), (b"a\rb\r\r", 2)])
def test_the_last_state_begins_after_the_last_return_that_text_follows(line: bytes, start: int) -> None:
    assert last_state(line) == start
