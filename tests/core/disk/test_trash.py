# SPDX-License-Identifier: Apache-2.0
"""How long a removed job is kept, whatever the clock does in the meantime."""

import pytest

from fluxgymd.core.disk.trash import DAY, Ages, aged, delete_at, expired

HOUR = DAY / 24
YEAR = 365 * DAY
START = 1000 * DAY


def after(*looks: float, removed_at: float = START, days: float = 7.0) -> bool:
    """Whether the time of a job removed at START is up at the last of these looks (wall clock, since START)."""
    ages = Ages(looked=START, kept={})
    for look in looks:
        ages = aged(ages, {"a": removed_at}, START + look)
    return expired(ages, days) == ["a"]


@pytest.mark.parametrize(
    ("looks", "over"),
    [
        ([n * HOUR for n in range(1, 169)], True),
        ([n * HOUR for n in range(1, 168)], False),
        # A machine that is on for an hour a day, and one that is off for weeks.
        ([n * DAY for n in range(1, 8)], True),
        ([n * DAY for n in range(1, 7)], False),
        ([30 * DAY], False),
        # The clock is a year ahead for an hour: a day is counted, and nothing for the way back.
        ([HOUR, YEAR, HOUR, 2 * HOUR], False),
        ([HOUR, YEAR, *(n * DAY for n in range(1, 8))], True),
        # The clock starts in 1970 at each boot, and is set a moment later.
        ([-START, HOUR, -START, 2 * HOUR, -START, 3 * HOUR], False),
    ],
)
def test_a_job_is_kept_for_a_week_and_a_jump_of_the_clock_counts_as_a_day_at_most(
    looks: list[float], over: bool
) -> None:
    assert after(*looks) is over


def test_the_time_before_the_first_look_counts_too() -> None:
    ages = aged(Ages(looked=START, kept={}), {"a": START + 3 * HOUR}, START + 4 * HOUR)
    assert ages.kept == {"a": HOUR}
    assert delete_at(ages, "a", 7.0) == START + 3 * HOUR + 7 * DAY


def test_a_job_removed_by_a_clock_that_was_ahead_is_kept_as_long() -> None:
    assert aged(Ages(looked=START, kept={}), {"a": START + YEAR}, START + HOUR).kept == {"a": 0.0}


def test_lost_ages_count_a_day_at_most() -> None:
    assert aged(None, {"old": START - YEAR, "new": START - HOUR}, START).kept == {"old": DAY, "new": HOUR}


def test_jobs_that_left_the_trash_are_forgotten() -> None:
    assert aged(Ages(looked=START, kept={"a": HOUR, "b": HOUR}), {"b": START}, START).kept == {"b": HOUR}


def test_nothing_is_kept_for_zero_days() -> None:
    assert expired(aged(None, {"a": START}, START), 0.0) == ["a"]
