# SPDX-License-Identifier: Apache-2.0
"""Values as people read them."""

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgymctl.prose import words


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (25_769_803_776, "24.0 GiB"),
        (1024**6, "1024.0 PiB"),
    ],
)
def test_a_size_has_the_largest_suitable_unit(count: int | None, text: str) -> None:
    assert words.size(count) == text


@given(st.integers(0, 1023 * 1024**5))
def test_a_size_is_never_written_with_four_digits(count: int) -> None:
    number = words.size(count).split()[0]
    assert float(number) < 1024


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-5.0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3569, "59 min"),
        (3599, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (86399, "1 d 0 h"),
        (100 * 3600, "4 d 4 h"),
    ],
)
def test_a_duration_has_the_units_that_matter(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("then", "text"),
    [(None, "-"), (1000.0, "0 s"), (2000.0, "0 s"), (941.0, "59 s"), (939.0, "1 min"), (-86400.0 * 3, "3 d")],
)
def test_an_age_counts_whole_units_and_is_never_negative(then: float | None, text: str) -> None:
    assert words.age(then, now=1000.0) == text


@pytest.fixture
def berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_a_moment_is_local_and_has_its_date_only_on_another_day() -> None:
    now = 1_700_000_000.0  # 2023-11-14 23:13:20 in Berlin, 22:13:20 in UTC
    assert words.moment(now, now=now) == "23:13:20"
    assert words.moment(now, now=now + 3600) == "2023-11-14 23:13"
    assert words.moment(None, now=now) == "-"


@pytest.mark.usefixtures("berlin")
def test_a_timestamp_is_local_and_complete_and_a_clock_shows_only_the_time() -> None:
    assert words.timestamp(1_700_000_000.5) == "2023-11-14 23:13:20"
    assert words.timestamp(None) == "-"
    assert words.clock(1_700_000_000.5) == "23:13:20"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0, "-"), (1.0, "1.00 s/step"), (12.345, "12.35 s/step"), (0.25, "4.00 steps/s")],
)
def test_a_speed_is_the_number_that_is_at_least_one(seconds: float | None, text: str) -> None:
    assert words.speed(seconds) == text


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (None, None, "-"),
        (None, 5, "-"),
        (3, None, "3"),
        (0, 0, "0"),
        (399, 400, "399/400 99%"),
        (400, 400, "400/400 100%"),
    ],
)
def test_a_percentage_reaches_100_only_at_the_end(done: int | None, total: int | None, text: str) -> None:
    assert words.share(done, total) == text


def test_a_signal_is_shown_by_name_if_it_has_one() -> None:
    assert words.signal_name(9) == "SIGKILL"
    assert words.signal_name(200) == "signal 200"
