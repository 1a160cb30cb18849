# SPDX-License-Identifier: Apache-2.0
"""Measurements are read from any position in a file with arbitrary contents."""

import os
from pathlib import Path

import pytest

from fluxgym.errors import StorageFailed
from fluxgymd.core.measures.measurements import Row
from fluxgymd.outputs import metrics
from fluxgymd.outputs.metrics import START, Cursor, Piece, cursor_of


def line(step: int, loss: float | str = 0.5, **more: object) -> bytes:
    others = "".join(f',"{key}":{value}' for key, value in more.items())
    return f'{{"time":{step},"phase":"training","step":{step},"totalSteps":999,"loss":{loss}{others}}}\n'.encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def read(path: Path, cursor: Cursor = START, begins: list[tuple[int, int]] | None = None) -> Piece:
    piece = metrics.read(path, cursor, begins or [(0, 1)])
    assert piece is not None
    return piece


def steps(piece: Piece) -> list[int]:
    return [row.step for row in piece.rows]


def test_a_line_is_read_with_all_its_measurements(path: Path) -> None:
    told = {"averageLoss": 0.6, "learningRate": 1e-4, "secondsPerStep": 2.5, "peakMemoryBytes": 7, "epoch": 2}
    path.write_bytes(line(1, **told))
    assert read(path).rows == [Row(1, 1, 2, 1.0, 0.5, 0.6, None, 1e-4, 2.5, 7)]


def test_a_validation_and_a_loss_that_is_not_finite_are_rows(path: Path) -> None:
    validation = line(2).replace(b'"loss"', b'"validationLoss"')
    path.write_bytes(validation + line(3, "null") + validation.replace(b"0.5", b"null"))
    assert [(row.step, row.loss, row.validation, row.finite) for row in read(path).rows] == [
        (2, None, 0.5, True),
        (3, None, None, False),
        (2, None, None, False),
    ]


@pytest.mark.parametrize(
    "text",
    [
        b'{"time":1,"phase":"training","step":0,"totalSteps":9}\n',
        b'{"time":1,"phase":"training","step":5,"totalSteps":9,"work":3}\n',
        b'{"time":1,"phase":"sampling","done":1,"total":4}\n',
        b'{"time":1,"phase":"training","loss":0.5}\n',
        line(1000),
        line(1, "NaN"),
        line(1, "1e999"),
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
        b'{"time":1,"phase":"training","step":' + b"9" * 400 + b',"loss":1}\n',
        b"\n\n\n",
        b"x" * 70_000 + line(2),
        b"\0" * 5000,
    ],
    ids=lambda text: repr(text[:30]),
)
def test_other_lines_are_skipped(path: Path, text: bytes) -> None:
    path.write_bytes(text + (b"" if text.endswith(b"\n") else b"\n") + line(7))
    assert steps(read(path)) == [7]


def test_an_incomplete_line_is_read_later(path: Path) -> None:
    path.write_bytes(line(1) + line(2)[:-5])
    first = read(path)
    assert (steps(first), first.more) == ([1], False)
    path.write_bytes(line(1) + line(2))
    assert steps(read(path, first.cursor)) == [2]


def test_a_large_file_is_read_in_pieces_and_a_huge_line_is_skipped(path: Path) -> None:
    path.write_bytes(line(1) + b"x" * 3 * metrics.PIECE_BYTES + b"\n" + line(2))
    found, cursor, more = [], START, True
    while more:
        piece = read(path, cursor)
        assert piece.cursor.offset > cursor.offset
        found += steps(piece)
        cursor, more = piece.cursor, piece.more
    assert (found, cursor.offset) == ([1, 2], path.stat().st_size)


def test_only_the_end_of_a_huge_file_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_BYTES", len(line(8) + line(9)) + 5)
    path.write_bytes(b"".join(map(line, range(10))))
    assert steps(read(path)) == [8, 9]


def test_each_row_has_its_attempt(path: Path) -> None:
    path.write_bytes(line(1) + line(2) + line(1))
    begins = [(0, 1), (len(line(1) + line(2)), 2)]
    assert [(row.step, row.attempt) for row in read(path, begins=begins).rows] == [(1, 1), (2, 1), (1, 2)]


def test_a_cursor_goes_to_a_client_and_back(path: Path) -> None:
    path.write_bytes(line(1))
    cursor = read(path).cursor
    path.write_bytes(line(1) + line(2))
    back = cursor_of(str(cursor))
    assert back == cursor
    assert back is not None
    assert steps(read(path, back)) == [2]
    assert cursor_of(str(START)) == START


@pytest.mark.parametrize("text", ["", "x", "7", "-1-ab", "9" * 30 + "-ab", "1-ab ", "1-AB"])
def test_a_cursor_that_no_daemon_issued_is_refused(text: str) -> None:
    assert cursor_of(text) is None


def test_a_cursor_does_not_fit_another_file(path: Path) -> None:
    path.write_bytes(line(1) + line(2))
    cursor = read(path).cursor
    for other in (line(1), line(1) + line(3), line(1, 0.7) + line(2)):
        path.write_bytes(other)
        assert metrics.read(path, cursor, []) is None
    path.unlink()
    assert metrics.read(path, cursor, []) is None
    assert read(path) == Piece([], START, more=False)


def test_an_unreadable_file_is_reported_in_a_sentence(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(StorageFailed, match=r"metrics\.jsonl cannot be read: it is a FIFO, not a regular file\.$"):
        metrics.read(path, START, [])
