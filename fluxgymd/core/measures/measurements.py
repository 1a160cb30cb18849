# SPDX-License-Identifier: Apache-2.0
"""The measurements of a training as rows, thinned for a curve. Pure.

A curve of 200,000 points is drawn with about a thousand. Outliers must not get lost: of each stretch, the rows with
the lowest and the highest value of each column are kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fluxgym.protocol.output_messages import Measurements


class Row(NamedTuple):
    """One report of a trainer. None: not measured."""

    attempt: int
    step: int
    epoch: int | None
    time: float
    loss: float | None
    mean: float | None
    validation: float | None
    rate: float | None
    seconds_per_step: float | None
    memory: int | None
    finite: bool = True
    """False: the loss or the validation loss was reported as NaN or infinite."""


MEASURED = range(Row._fields.index("loss"), Row._fields.index("finite"))
"""The columns that hold measurements."""


def thin(rows: Sequence[Row], points: int) -> list[Row]:
    """Thins to about `points` rows. The last quarter of them are the most recent rows, unthinned. The first and the
    last row of each attempt are kept, since a curve has gaps there, and so is the first row in a stretch whose loss
    is not finite."""
    if len(rows) <= points:
        return list(rows)
    tail = points // 4
    head = rows[: len(rows) - tail]
    room = points - tail
    stretches = max(1, room // 2)
    edges = set(_edges(head))
    chosen = edges | set(_extremes(head, stretches))
    while len(chosen) > room and stretches > 1:
        stretches = max(1, min(stretches // 2, stretches * room // len(chosen)))
        chosen = edges | set(_extremes(head, stretches))
    return [*(head[index] for index in sorted(chosen)), *rows[len(head) :]]


class Thinned:
    """Takes any number of rows and keeps a bounded number, to be thinned to `points`. Each pass keeps the highest and
    lowest values, so they are never lost."""

    def __init__(self, points: int) -> None:
        self._points = points
        self._rows: list[Row] = []

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._rows.append(row)
            if len(self._rows) >= 4 * self._points:
                self._rows = thin(self._rows, 2 * self._points)

    def take(self) -> list[Row]:
        """Returns the rows kept so far, and clears them."""
        rows, self._rows = thin(self._rows, self._points), []
        return rows


def columns(rows: Sequence[Row]) -> Measurements:
    """The rows as columns."""
    return Measurements(
        attempt=[row.attempt for row in rows],
        step=[row.step for row in rows],
        epoch=[row.epoch for row in rows],
        time=[row.time for row in rows],
        loss=[row.loss for row in rows],
        mean=[row.mean for row in rows],
        validation=[row.validation for row in rows],
        rate=[row.rate for row in rows],
        seconds_per_step=[row.seconds_per_step for row in rows],
        memory=[row.memory for row in rows],
        not_finite=[index for index, row in enumerate(rows) if not row.finite],
    )


def attempt_at(begins: Sequence[tuple[int, int]], offset: int) -> int:
    """The attempt that wrote at an offset. `begins`: the offset at which each attempt began to write and its number,
    in order."""
    return next((number for begin, number in reversed(begins) if begin <= offset), 1)


def _edges(rows: Sequence[Row]) -> Iterator[int]:
    """The first and the last row of each attempt."""
    for index in range(1, len(rows)):
        if rows[index - 1].attempt != rows[index].attempt:
            yield index - 1
            yield index
    if rows:
        yield 0


def _extremes(rows: Sequence[Row], stretches: int) -> Iterator[int]:
    """The rows with the lowest and the highest value of each column in each stretch, and the first whose loss is not
    finite."""
    size = -(-len(rows) // stretches)
    for start in range(0, len(rows), size):
        stretch = range(start, min(start + size, len(rows)))
        for column in MEASURED:
            values = [(value, index) for index in stretch if (value := rows[index][column]) is not None]
            if values:
                yield min(values)[1]
                yield max(values)[1]
        not_finite = next((index for index in stretch if not rows[index].finite), None)
        if not_finite is not None:
            yield not_finite
