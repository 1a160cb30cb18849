# SPDX-License-Identifier: Apache-2.0
"""What counts as movement, what counts as work, and what is unknown."""

from typing import Any

import pytest

from fluxgym.protocol.messages import Phase
from fluxgymd.core.watchdog.movement import Counters, Movement, compare
from fluxgymd.core.watchdog.observation import Activity, Observation
from tests.core.watchdog.looking import busy, gpu, look


def between(*looks: Observation) -> Movement:
    """What moved between the last two of these looks."""
    counters, movement = compare(Counters(), looks[0], gpu_idle_percent=5)
    for one in looks[1:]:
        counters, movement = compare(counters, one, gpu_idle_percent=5)
    return movement


@pytest.mark.parametrize(
    ("values", "signs", "counted", "worked"),
    [
        ({}, set(), False, False),
        ({"step": 101}, {"steps"}, True, True),
        ({"step": 90}, set(), False, False),
        ({"log_bytes": 1001}, {"log"}, False, False),
        ({"log_bytes": 500}, set(), False, False),
        ({"output_bytes": 51}, {"files"}, False, True),
        ({"output_bytes": 49}, set(), False, False),
        ({"cache_files": 8}, {"items"}, True, True),
        ({"cache_files": 6}, set(), False, False),
        ({"done": 4}, {"items"}, True, True),
        ({"done": 0}, set(), False, False),
        ({"phase": Phase.SAMPLING, "done": 9}, set(), False, False),
        ({"activity": busy(1, cpu=0.06)}, {"processor"}, False, False),
        ({"activity": busy(1, cpu=0.04)}, set(), False, False),
        ({"activity": busy(1, io=70_000)}, {"input and output"}, False, False),
        ({"activity": busy(1, io=60_000)}, set(), False, False),
        ({"gpus": (gpu(5),)}, {"GPU"}, False, False),
        ({"gpus": (gpu(4),)}, set(), False, False),
        ({"gpus": (gpu(0), gpu(100, uuid="GPU-1"))}, {"GPU"}, False, False),
    ],
)
def test_movement_is_recognized(values: dict[str, Any], signs: set[str], counted: bool, worked: bool) -> None:
    known = {"done": 3, "cache_files": 7, "output_bytes": 50}
    movement = between(look(0, **known), look(1, **(known | values)))
    assert {name for name, seen in movement.signs.items() if seen} == signs
    assert (movement.counted, movement.worked, movement.alive) == (counted, worked, bool(signs))


@pytest.mark.parametrize(
    ("phase", "pressure", "worked"),
    [
        (Phase.DOWNLOADING, 0.0, True),
        (Phase.LOADING, None, True),
        (Phase.LOADING, 19.0, True),
        (Phase.LOADING, 20.0, False),
        (Phase.STARTING, 0.0, True),
        (Phase.CACHING, 0.0, False),
        (Phase.TRAINING, 0.0, False),
        (Phase.SAVING, 0.0, False),
    ],
)
def test_reading_counts_as_work_in_phases_without_a_counter(
    phase: Phase, pressure: float | None, worked: bool
) -> None:
    """Under memory pressure, what is read may be the job's own swap."""
    before = look(0, phase=phase, memory_pressure=pressure)
    assert between(before, look(1, phase=phase, memory_pressure=pressure, activity=busy(1, io=1e6))).worked is worked


def test_a_value_known_for_the_first_time_is_not_work() -> None:
    assert not between(look(0, step=None, output_bytes=None), look(1, step=100, output_bytes=10**9)).alive


def steps_of(*told: int | None) -> list[int]:
    """The steps that each look after the first one adds if the looks report these steps."""
    counters, _ = compare(Counters(), look(0, step=told[0]), gpu_idle_percent=5)
    added = []
    for number, step in enumerate(told[1:], start=1):
        counters, movement = compare(counters, look(number, step=step), gpu_idle_percent=5)
        added.append(movement.steps)
    return added


@pytest.mark.parametrize(
    ("told", "added"),
    [
        ((0, 3, 7, 0, 3, 7, 0, 7), [3, 4, 0, 0, 0, 0, 0]),
        ((7, 2, 9, 12), [0, 2, 3]),
        ((7, None, 2, 7, 8), [0, 0, 0, 1]),
        ((None, 40, 41), [0, 1]),  # a resume: the steps before it belong to another attempt
        ((5, 5, 6), [0, 1]),
    ],
)
def test_promise_7_steps_count_only_above_the_highest_of_the_attempt(
    told: tuple[int | None, ...], added: list[int]
) -> None:
    assert steps_of(*told) == added


def test_promise_7_the_highest_step_may_have_come_between_two_looks() -> None:
    """A fast loop over the same steps is at another one at each look, and each may be the highest seen so far."""
    seen = [look(0, step=3, highest_step=3), *(look(n, step=n, highest_step=7) for n in range(1, 8))]
    assert [between(*seen[: n + 1]).steps for n in range(1, 8)] == [4, 0, 0, 0, 0, 0, 0]
    assert between(*seen).repeats
    assert not between(*seen, look(9, step=8, highest_step=8)).repeats


def test_promise_7_activity_during_repeated_steps_is_not_work() -> None:
    """While steps are repeated, samples, checkpoints and models are made and read again. None of that is work until a
    step exceeds the highest one."""
    known: dict[str, Any] = {"step": 7, "done": 3, "output_bytes": 50}
    again = {"step": 0, "phase": Phase.LOADING, "activity": busy(1, io=1e6)}
    first = [look(0, **known), look(1, **(known | again))]
    assert between(*first).worked is False
    sampled = look(2, step=7, phase=Phase.LOADING, done=9, output_bytes=90, cache_files=8)
    assert (between(*first, sampled).counted, between(*first, sampled).worked) == (False, False)
    assert between(*first, sampled).alive, "a file is a sign of life all the same"
    beyond = look(3, step=8, phase=Phase.LOADING)
    assert between(*first, sampled, beyond).counted
    later = look(4, step=8, phase=Phase.LOADING, done=10)
    assert between(*first, sampled, beyond, later).items == 1


def test_an_unknown_look_in_between_hides_nothing() -> None:
    unknown = look(1, phase=None, step=None, log_bytes=0, activity=None)
    movement = between(look(0), unknown, look(2, step=101, activity=busy(2, cpu=0.5)))
    assert movement.steps == 1
    assert not movement.log
    assert movement.cpu == pytest.approx(0.5)


def test_unknown_processor_time_is_neither_activity_nor_rest() -> None:
    assert between(look(0), look(1, activity=None)).alive is None
    assert between(look(0), look(1, activity=None, step=101)).alive is True
    assert between(look(0), look(1, activity=Activity(io_bytes=10_000))).alive is None


@pytest.mark.parametrize(
    ("gpus", "works"),
    [
        (None, None),
        ((), None),
        ((gpu(None),), None),
        ((gpu(0, lost=True),), None),
        ((gpu(0), gpu(None)), None),
        ((gpu(50), gpu(None)), True),
        ((gpu(0), gpu(1)), False),
    ],
)
def test_an_unknown_gpu_is_neither_busy_nor_idle(gpus: Any, works: bool | None) -> None:
    assert between(look(0), look(1, gpus=gpus)).gpu is works


def test_promise_7_nothing_can_be_concluded_on_a_full_disk() -> None:
    """On a full disk, the metrics and the output of a training that continues are lost. A standstill is still
    noticed."""
    full = between(look(0), look(1, phase=Phase.SAVING, disk_free=0))
    assert (full.told, full.phase, full.alive) == (False, Phase.SAVING, False)
    assert between(look(0), look(1, disk_free=1 << 30)).told
