# SPDX-License-Identifier: Apache-2.0
"""Thinning of measurements keeps outliers, gaps and the end."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgymd.core.measures.measurements import MEASURED, Row, Thinned, attempt_at, columns, thin


def row(step: int, loss: float | None = 0.1, *, attempt: int = 1, finite: bool = True, **values: float) -> Row:
    measured: dict[str, float | None] = {"mean": None, "validation": None, "rate": None, "seconds_per_step": None}
    return Row(
        attempt=attempt,
        step=step,
        epoch=1,
        time=float(step),
        loss=loss,
        memory=None,
        finite=finite,
        **(measured | values),
    )


def curve(count: int) -> list[Row]:
    return [row(step, 0.1 + math.sin(step) / 100, rate=1.0 / (step + 1)) for step in range(count)]


def test_few_rows_are_not_thinned() -> None:
    assert thin(curve(50), 50) == curve(50)
    assert thin([], 10) == []


@pytest.mark.parametrize("count", [51, 1000, 20_000])
def test_many_rows_become_about_as_many_as_asked_for_in_order(count: int) -> None:
    kept = thin(curve(count), 50)
    assert 15 <= len(kept) <= 50
    assert [one.step for one in kept] == sorted({one.step for one in kept})
    assert kept[-12:] == curve(count)[-12:]


def test_outliers_of_each_column_stay() -> None:
    rows = curve(10_000)
    special = [row(3000, 9.0), row(4000, -1.0), row(5000, validation=0.5), row(6000, None, finite=False)]
    for one in special:
        rows[one.step] = one
    kept = thin(rows, 100)
    assert all(one in kept for one in special)


def test_the_gap_between_two_attempts_stays() -> None:
    rows = [*curve(3000), *(one._replace(attempt=2, step=one.step - 500) for one in curve(6000)[3000:])]
    kept = thin(rows, 60)
    first, second = ([one.step for one in kept if one.attempt == attempt] for attempt in (1, 2))
    assert (first[0], first[-1], second[0]) == (0, 2999, 2500)


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.none() | st.floats(-5, 5)), min_size=1, max_size=600),
    st.integers(10, 40),
)
def test_the_highest_and_lowest_values_survive_any_number_of_passes(
    values: list[tuple[float, float | None]], points: int
) -> None:
    rows = [row(step, loss)._replace(validation=validation) for step, (loss, validation) in enumerate(values)]
    thinned = Thinned(points)
    thinned.add(rows)
    kept = thinned.take()
    assert len(kept) <= max(points, points // 4 + 2 * len(MEASURED) + 3)
    for column in (Row._fields.index("loss"), Row._fields.index("validation")):
        had, has = ([value for one in some if (value := one[column]) is not None] for some in (rows, kept))
        assert [min(had), max(had)] == [min(has), max(has)] if had else not has
    assert thinned.take() == []


def test_columns_mark_values_that_json_cannot_express() -> None:
    told = columns([row(1, 0.5, rate=2.0), row(2, None, finite=False)])
    assert (told.step, told.loss, told.rate, told.not_finite) == ([1, 2], [0.5, None], [2.0, None], [1])


@pytest.mark.parametrize(("offset", "attempt"), [(0, 1), (99, 1), (100, 2), (500, 4)])
def test_a_line_belongs_to_the_attempt_that_began_before_it(offset: int, attempt: int) -> None:
    assert attempt_at([(0, 1), (100, 2), (500, 3), (500, 4)], offset) == attempt


def test_a_line_before_the_first_known_attempt_belongs_to_the_first() -> None:
    assert attempt_at([], 7) == 1
