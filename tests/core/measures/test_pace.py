# SPDX-License-Identifier: Apache-2.0
"""When the steps of an attempt count as slow, and when they don't."""

import random
from collections.abc import Iterable

import pytest

from fluxgymd.core.measures.pace import (
    IN_A_ROW,
    KEPT,
    NEEDED,
    STRETCH_SECONDS,
    STRETCH_STEPS,
    Pace,
    Slow,
    StepTime,
    follow,
)

STRETCH = STRETCH_STEPS
USUAL = [1.0] * STRETCH * (1 + NEEDED)
"""The steps after which the usual time is known."""


def timed(seconds: Iterable[float]) -> list[StepTime]:
    """Consecutive steps that take this long."""
    at = 1000.0
    times = []
    for one in seconds:
        at += one
        times.append(StepTime(at=at, seconds=one))
    return times


def slow_after(*seconds: float) -> Slow | None:
    return follow(Pace(), timed(seconds)).slow


STEADY = {
    "no steps": [],
    "too few to know what is usual": [1.0] * (STRETCH * NEEDED) + [9.0] * (STRETCH - 1),
    "the same time throughout": [*USUAL, *[1.0] * 500],
    "a little slower": [*USUAL, *[1.9] * 500],
    "a slow first stretch, which compiles": [30.0] * STRETCH + [1.0] * 500,
    "faster": [*USUAL, *[0.1] * 500],
    "one step that takes very long": [*USUAL, 3600.0, *[1.0] * 500],
    "one stretch that is slow": [*USUAL, *[5.0] * STRETCH, *[1.0] * STRETCH],
    "an epoch of 10 steps, and then a step that waits for the disk": ([1.0] * 9 + [30.0]) * 100,
    "two resolutions in turn": [1.0, 4.0] * 500,
    "fast steps, and a machine that pauses for a second": [*[0.01] * 8000, 1.0, *[0.01] * 100, 1.0, *[0.01] * 2000],
    "it creeps up over many stretches": [1.0 + step / 50_000 for step in range(50_000)],
}


@pytest.mark.parametrize("seconds", STEADY.values(), ids=STEADY)
def test_steps_that_are_never_slow(seconds: list[float]) -> None:
    pace = Pace()
    for time in timed(seconds):
        pace = follow(pace, [time])
        assert pace.slow is None


def test_pictures_of_two_resolutions_in_random_order_are_never_slow() -> None:
    chance = random.Random(1)
    pace = Pace()
    for time in timed(chance.choice((1.0, 4.0)) for _ in range(20_000)):
        pace = follow(pace, [time])
        assert pace.slow is None


@pytest.mark.parametrize(
    ("later", "told"),
    [
        ([2.0] * 2 * STRETCH, (80.0, 2.0)),
        ([3.0] * 2 * STRETCH, (80.0, 3.0)),
        ([3.0] * STRETCH + [5.0] * STRETCH, (80.0, 5.0)),
        ([3.0] * (2 * STRETCH - 1), None),
        # It begins in the middle of a stretch: the next stretches are the first ones that are slow.
        ([1.0] * 15 + [3.0] * 5 + [3.0] * 2 * STRETCH, (110.0, 3.0)),
        # Not fast enough yet to have recovered.
        ([3.0] * 2 * STRETCH + [1.75] * STRETCH, (80.0, 1.75)),
        # It recovers, and becomes slow again.
        ([3.0] * 2 * STRETCH + [1.0] * STRETCH, None),
        ([3.0] * 2 * STRETCH + [1.0] * STRETCH + [3.0] * 2 * STRETCH, (220.0, 3.0)),
    ],
)
def test_steps_that_become_slow(later: list[float], told: tuple[float, float] | None) -> None:
    slow = slow_after(*USUAL, *later)
    expected = Slow(since=1000.0 + told[0], seconds_per_step=told[1], usual=1.0) if told is not None else None
    assert slow == expected


def test_steps_that_stay_slow_never_become_the_usual_ones() -> None:
    slow = slow_after(*USUAL, *[3.0] * STRETCH * KEPT)
    assert slow == Slow(since=1080.0, seconds_per_step=3.0, usual=1.0)


def test_fast_steps_are_compared_over_seconds_and_not_over_a_few_steps() -> None:
    usual = [0.01] * int(STRETCH_SECONDS * (1 + NEEDED) * 100 + 10)
    assert slow_after(*usual, *[0.05] * 2 * STRETCH) is None
    slow = slow_after(*usual, *[0.05] * int(STRETCH_SECONDS * (1 + IN_A_ROW) * 20))
    assert slow is not None
    assert slow.seconds_per_step == pytest.approx(0.05)


def test_it_makes_no_difference_in_which_pieces_the_steps_are_read() -> None:
    times = timed([*USUAL, *[3.0] * 3 * STRETCH])
    pace = Pace()
    for time in times:
        pace = follow(pace, [time])
    assert pace == follow(Pace(), times)
    several = [StepTime(at=times[-1].at, seconds=300.0, steps=100)]
    assert follow(Pace(), several) == Pace(warm=True, began=times[-1].at - 300.0)
