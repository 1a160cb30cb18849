# SPDX-License-Identifier: Apache-2.0
"""Reads the measurements in a job's metrics.jsonl from any position on. Everything here blocks on the disk.

A job may write anything there. What one call reads is bounded; lines that are too long or invalid are skipped, as in
the reader of the progress (trainers/progress/metrics.py).
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxgym.errors import StorageFailed
from fluxgym.files import open_for_reading
from fluxgym.protocol.messages import Phase
from fluxgymd.core.measures.measurements import Row, attempt_at
from fluxgymd.trainers.progress.appended import LONGEST_LINE
from fluxgymd.trainers.progress.metrics import MetricsLine, parse

PIECE_BYTES = 1 << 20
"""How many bytes one call reads: several thousand lines, which take about 20 ms."""
MOST_BYTES = 512 << 20
"""Only the end of a larger file is read. Our trainer takes half a year to write this much."""
MARK_BYTES = 128
"""How many bytes before a position identify the file: each line contains a time."""
NOT_FINITE = re.compile(rb'"(?:loss|validationLoss)"\s*:\s*null')
"""How the trainer writes a loss that is NaN or infinite (docs/trainer.md)."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in the file, and a hash of the bytes before it."""

    offset: int
    mark: str

    def __str__(self) -> str:
        return f"{self.offset}-{self.mark}"


START = Cursor(0, "")


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows, the position after them, and whether more may follow at once."""

    rows: list[Row]
    cursor: Cursor
    more: bool


def cursor_of(text: str) -> Cursor | None:
    """Parses a cursor that a client sent back; None if no daemon issued it."""
    found = re.fullmatch(r"(\d{1,18})-([0-9a-f]*)", text)
    return Cursor(int(found[1]), found[2]) if found is not None else None


def read(path: Path, cursor: Cursor, begins: Sequence[tuple[int, int]]) -> Piece | None:
    """The measurements after a position; None if the file was replaced or emptied. `begins`: as in attempt_at."""
    try:
        with open_for_reading(path) as file:
            descriptor = file.fileno()
            size = os.fstat(descriptor).st_size
            offset = cursor.offset
            if offset and (offset > size or _mark(descriptor, offset) != cursor.mark):
                return None
            offset = max(offset, size - MOST_BYTES)
            data = os.pread(descriptor, PIECE_BYTES, offset)
            complete = data.rfind(b"\n") + 1
            if not complete and len(data) == PIECE_BYTES:
                complete = len(data)  # part of a line that is too long
            end = offset + complete
            rows = list(_rows(data[:complete], offset, begins))
            return Piece(rows, Cursor(end, _mark(descriptor, end)), more=len(data) == PIECE_BYTES)
    except FileNotFoundError:
        return None if cursor.offset else Piece([], START, more=False)
    except OSError as error:
        raise StorageFailed(f"{path} cannot be read: {error.strerror or error}.") from None


def _mark(descriptor: int, offset: int) -> str:
    start = max(0, offset - MARK_BYTES)
    before = os.pread(descriptor, offset - start, start)
    return hashlib.blake2b(before, digest_size=6).hexdigest() if offset else ""


def _rows(data: bytes, offset: int, begins: Sequence[tuple[int, int]]) -> Iterator[Row]:
    for text in data.split(b"\n"):
        if 2 < len(text) <= LONGEST_LINE and (line := parse(text)) is not None:
            row = _row(line, attempt_at(begins, offset), finite=NOT_FINITE.search(text) is None)
            if row is not None:
                yield row
        offset += len(text) + 1


def _row(line: MetricsLine, attempt: int, *, finite: bool) -> Row | None:
    """The row for a line; None if it has no measurement."""
    if line.phase is not Phase.TRAINING or line.step is None:
        return None
    if line.total_steps is not None and line.step > line.total_steps:
        return None
    if line.loss is None and line.validation_loss is None and line.learning_rate is None and finite:
        return None
    return Row(
        attempt=attempt,
        step=line.step,
        epoch=line.epoch,
        time=line.time,
        loss=line.loss,
        mean=line.average_loss,
        validation=line.validation_loss,
        rate=line.learning_rate,
        seconds_per_step=line.seconds_per_step,
        memory=line.peak_memory_bytes,
        finite=finite,
    )
