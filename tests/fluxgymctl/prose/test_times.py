# SPDX-License-Identifier: Apache-2.0
"""Durations and times of day, as people type them."""

from datetime import datetime, timedelta

import pytest

from fluxgymctl.prose import times

NOON = datetime(2026, 3, 4, 12, 0).timestamp()  # noqa: DTZ001 - a local time, as the user reads it


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30min", 1800),
        ("30m", 1800),
        ("1h", 3600),
        ("1h30min", 5400),
        ("1 h 30 min", 5400),
        ("2d", 172800),
    ],
)
def test_a_duration_has_its_units(text: str, seconds: float) -> None:
    assert times.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "an hour", "1h x", "-1h", "0s", "1h30"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is (not a duration|zero)"):
        times.duration(text)


@pytest.mark.parametrize(
    ("text", "later"),
    [
        ("14:30", timedelta(hours=2, minutes=30)),
        ("14:30:10", timedelta(hours=2, minutes=30, seconds=10)),
        ("12:00", timedelta(days=1)),
        ("07:30", timedelta(hours=19, minutes=30)),
        ("2026-03-06 12:00", timedelta(days=2)),
    ],
)
def test_a_time_of_day_is_the_next_one(text: str, later: timedelta) -> None:
    assert times.moment(text, now=NOON) == NOON + later.total_seconds()


@pytest.mark.parametrize("text", ["", "noon", "25:00", "2026-13-01"])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time; write 14:30 or 2026-12-24 14:30\."):
        times.moment(text, now=NOON)
