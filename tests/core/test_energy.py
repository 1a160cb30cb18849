# SPDX-License-Identifier: Apache-2.0
"""The energy of a job, from readings of the power of its GPUs."""

import msgspec
import pytest

from fluxgymd.core.energy import Meter, measure, of_attempt, of_job, power
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Attempt, fold
from fluxgymd.core.journal.records import MOST_ENERGY
from tests.core import histories as h

RUNNING = fold(h.WAYS["running"])
assert RUNNING.last is not None
ATTEMPT = RUNNING.last
BEGAN = ATTEMPT.reserved_at


def reading(watts: float | None, *, lost: bool = False) -> Reading:
    return Reading(index=0, uuid="GPU-1", name="H200", power_draw=watts, lost=lost)


def measured(*readings: tuple[float, float], unseen: float = 0.0, attempt: Attempt = ATTEMPT) -> Meter:
    """A meter after readings of (seconds since the first, watts)."""
    meter = None
    for after, watts in readings:
        meter = measure(meter, attempt, watts, at=BEGAN + unseen + after, clock=1e6 + after)
    assert meter is not None
    return meter


@pytest.mark.parametrize(
    ("gpus", "watts"),
    [
        ((reading(300.0),), 300.0),
        ((reading(300.0), reading(100.0)), 400.0),
        ((reading(0.0),), 0.0),
        ((reading(300.0), reading(None)), None),
        ((reading(300.0), reading(None, lost=True)), None),
        ((), None),
        (None, None),
    ],
)
def test_the_power_is_known_if_each_gpu_reports_it(gpus: tuple[Reading, ...] | None, watts: float | None) -> None:
    assert power(gpus) == watts


@pytest.mark.parametrize(
    ("readings", "unseen", "watt_hours"),
    [
        ([(0, 360.0)], 0.0, 0.0),
        ([(0, 360.0), (3600, 360.0)], 0.0, 360.0),
        ([(0, 100.0), (1800, 300.0), (3600, 100.0)], 0.0, 200.0),
        # The driver didn't answer for an hour.
        ([(0, 100.0), (10, 100.0), (3610, 100.0)], 0.0, 3610 / 36),
        # Another daemon watched during the first hour.
        ([(0, 360.0)], 3600.0, 360.0),
        ([(0, 100.0), (1800, 300.0)], 3600.0, 300.0),
        # The wall clock was set back, or far ahead: the attempt isn't older than the boot.
        ([(0, 360.0), (3600, 360.0)], -5000.0, 360.0),
        ([(0, 360.0)], 1e9, 1e5),
    ],
)
def test_the_energy_of_an_attempt(readings: list[tuple[float, float]], unseen: float, watt_hours: float) -> None:
    assert of_attempt(measured(*readings, unseen=unseen), ATTEMPT) == pytest.approx(watt_hours)


def test_the_meter_of_an_earlier_attempt_says_nothing_about_the_present_one() -> None:
    second = msgspec.structs.replace(ATTEMPT, number=2)
    meter = measured((0, 100.0), (3600, 100.0))
    assert of_attempt(meter, second) is None
    assert of_attempt(None, ATTEMPT) is None
    assert measure(meter, second, 50.0, at=BEGAN, clock=1e6) == measured((0, 50.0), attempt=second)


def test_a_driver_that_reports_nonsense_does_not_damage_the_journal() -> None:
    assert of_attempt(measured((0, 1e30), (3600, 1e30)), ATTEMPT) == MOST_ENERGY


def test_the_energy_of_a_job_is_that_of_all_its_attempts() -> None:
    meter = measured((0, 100.0), (3600, 100.0))
    assert of_job(RUNNING, None) is None
    assert of_job(RUNNING, meter) == pytest.approx(100.0)
    ended = msgspec.structs.replace(h.ended("interrupted"), energy=40.0)
    waits = fold([*h.WAYS["running"], ended])
    assert of_job(waits, meter) == 40.0, "the end holds what the meter measured"
    again = fold([*h.WAYS["running"], ended, h.reserved(2)])
    assert of_job(again, meter) == 40.0
    assert again.last is not None
    assert of_job(again, measured((0, 100.0), (3600, 100.0), attempt=again.last)) == pytest.approx(140.0)
    more = msgspec.structs.replace(h.ended("completed", 2), energy=2.5)
    assert of_job(fold([*h.WAYS["running"], ended, h.reserved(2), more]), None) == 42.5
    assert of_job(fold([*h.WAYS["running"], ended, h.reserved(2), h.ended("completed", 2)]), None) == 40.0
