# SPDX-License-Identifier: Apache-2.0
"""A search in a log takes bounded time and memory, whatever the log and the pattern."""

import os
from pathlib import Path

import pytest

from fluxgym.errors import InvalidSetting, StorageFailed
from fluxgym.protocol.output_messages import LogMatch
from fluxgymd.outputs import log_search
from fluxgymd.outputs.log_search import LogSearch


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "training.log"


def search(log: Path, text: str, *, regex: bool = False, after: int | None = None) -> list[LogMatch]:
    looking = LogSearch(log, text, regex=regex, after=after)
    found = []
    while not looking.done:
        found += looking.go_on()
    return found


@pytest.mark.parametrize(
    ("text", "regex", "lines"),
    [
        ("cuda", False, [1, 3]),
        ("CUDA OUT", False, [3]),
        ("c.da", False, []),
        ("c.da", True, [1]),
        ("(?i)c.da", True, [1, 3]),
        ("^two$", True, [2]),
        ("猫", False, [4]),
        ("^$", True, [5]),
        ("nothing", False, []),
    ],
)
def test_the_lines_with_the_text_are_found(log: Path, text: str, *, regex: bool, lines: list[int]) -> None:
    log.write_bytes("a cuda\ntwo\r\nCUDA out of memory\n猫\n\nlast".encode())
    assert [match.line for match in search(log, text, regex=regex)] == lines


def test_a_match_has_its_offset_and_the_search_continues_after_it(log: Path) -> None:
    log.write_bytes(b"x1\nno\nx2\nx3")
    first, second, third = search(log, "x")
    assert (first, second, third) == (
        LogMatch(offset=0, line=1, text="x1"),
        LogMatch(offset=6, line=3, text="x2"),
        LogMatch(offset=9, line=4, text="x3"),
    )
    assert [(match.offset, match.line) for match in search(log, "x", after=0)] == [(6, None), (9, None)]
    assert [match.offset for match in search(log, "x", after=1)] == [6, 9]
    assert search(log, "x", after=2**70) == []


def test_only_the_last_state_of_a_rewritten_line_is_found(log: Path) -> None:
    log.write_bytes(b"begin\n10%\r20%\r30%\r\nend\n40%\r50%")
    assert search(log, "20") == []
    assert search(log, "%") == [LogMatch(offset=14, line=2, text="30%"), LogMatch(offset=27, line=4, text="50%")]
    assert [match.offset for match in search(log, "%", after=14)] == [27]


def test_a_bar_longer_than_a_piece_is_one_line(log: Path) -> None:
    log.write_bytes(b"".join(b"%d%%\r" % number for number in range(200_000)) + b"done%\nnext%\n")
    assert [(match.line, match.text) for match in search(log, "%")] == [(1, "done%"), (2, "next%")]
    assert search(log, "[0-9]", regex=True) == []


def test_more_matches_than_one_call_finds(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_search, "MOST_MATCHES", 3)
    monkeypatch.setattr(log_search, "PIECE_BYTES", 64)
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(1, 101)))
    assert [match.line for match in search(log, "line", regex=True)] == list(range(1, 101))
    assert [match.line for match in search(log, "line 7")] == [7, *range(70, 80)]


def test_a_long_line_is_cut_around_the_match(log: Path) -> None:
    log.write_bytes(b"x" * 5000 + b"here" + b"y" * 5000)
    (match,) = search(log, "here")
    assert len(match.text) == log_search.LONGEST_TEXT
    assert match.text[500:504] == "here"


def test_a_hole_is_skipped_and_lines_after_it_have_no_number(log: Path) -> None:
    log.write_bytes(b"x\n" * 2048)
    os.truncate(log, 1 << 40)
    with log.open("ab") as file:
        file.write(b"behind x\n")
    assert search(log, "behind") == [LogMatch(offset=1 << 40, text="behind x")]


def test_a_pattern_that_takes_exponential_time_elsewhere_does_not(log: Path) -> None:
    log.write_bytes(b"a" * 50_000 + b"\n")
    assert search(log, "(a*)*b", regex=True) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a(", "a( is not a valid RE2 regular expression: missing ): a(."),
        ("(?=a)", "(?=a) is not a valid RE2 regular expression: invalid perl operator: (?=."),
        ("", "The text to search for must have 1 to 1000 characters."),
        ("x" * 1001, "The text to search for must have 1 to 1000 characters."),
    ],
)
def test_an_invalid_pattern_is_explained_in_one_sentence(log: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        LogSearch(log, text, regex=True, after=None)
    assert raised.value.message == said


def test_a_missing_log_has_no_matches_and_an_unreadable_one_is_reported(log: Path) -> None:
    assert search(log, "x") == []
    log.mkdir()
    with pytest.raises(StorageFailed):
        search(log, "x")
