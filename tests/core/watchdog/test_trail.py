# SPDX-License-Identifier: Apache-2.0
"""How time adds up, and what restarts the clocks."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgym.protocol.messages import Phase
from fluxgymd.core.watchdog.trail import Stretch, Trail, begin, follow
from tests.core.watchdog.looking import BEGIN, INTERVAL, busy, gpu, look, trail
from tests.core.watchdog.usual import USUAL


def seconds(clock: Stretch | None) -> float:
    assert clock is not None
    return clock.seconds


def test_time_without_work_adds_up_from_the_look_that_saw_the_last() -> None:
    made = trail([look(0, step=98), look(1, step=100), *(look(number) for number in range(2, 7))])
    assert made.work == Stretch(BEGIN + INTERVAL, 5 * INTERVAL)
    assert made.still == made.counted == made.work


@pytest.mark.parametrize(("gap", "counts"), [(30, 30), (60, 60), (74, 74), (76, 30), (7200, 30), (0, 0), (-5, 0)])
def test_a_gap_in_which_nobody_looked_counts_as_one_interval(gap: float, counts: float) -> None:
    assert seconds(trail([look(0), look(gap / INTERVAL)]).work) == counts


def test_a_suspend_takes_no_time_whatever_the_wall_clock_says() -> None:
    assert seconds(trail([look(0), look(1, at=BEGIN + 9 * 3600)]).still) == 30
    assert seconds(trail([look(0), look(1, at=BEGIN + 70)]).still) == 30
    assert seconds(trail([look(0), look(1, at=BEGIN - 3600)]).still) == 30


def test_unknown_progress_lets_no_clock_of_progress_run_and_resets_none() -> None:
    unknown = [look(number, phase=None, step=None, log_bytes=0) for number in range(3, 50)]
    made = trail([look(0), look(1), look(2), *unknown])
    assert seconds(made.work) == seconds(made.counted) == 60
    assert made.phase is Phase.TRAINING
    assert seconds(made.untold) == 46 * INTERVAL
    assert seconds(follow(made, look(50)).work) == 90


def test_an_earlier_report_is_not_repeated_at_this_look() -> None:
    """While a volume hangs, the observer keeps the values that it read last."""
    made = trail([look(0), look(1), *(look(number, told=False) for number in range(2, 50))])
    assert seconds(made.work) == 30
    assert seconds(made.untold) == 47 * INTERVAL


def test_unknown_processor_time_stops_the_clock_of_stillness() -> None:
    made = trail([look(0), look(1), *(look(number, activity=None) for number in range(2, 50))])
    assert seconds(made.still) == 30


def test_an_unknown_gpu_neither_begins_nor_ends_an_idle_stretch() -> None:
    made = trail([look(0, gpus=None), look(1, gpus=None)])
    assert made.gpu_idle is None
    for number, gpus in enumerate([(gpu(0),), (gpu(0),), None, None, (gpu(3),)], start=2):
        made = follow(made, look(number, gpus=gpus))
    assert seconds(made.gpu_idle) == 60
    assert follow(made, look(7, gpus=(gpu(80),))).gpu_idle is None


def test_log_lines_and_processor_time_are_movement_and_no_work() -> None:
    made = trail(look(number, log_bytes=1000 + number, activity=busy(number, cpu=1)) for number in range(20))
    assert seconds(made.still) == 0
    assert seconds(made.work) == 19 * INTERVAL


def test_the_time_of_a_phase_begins_once_between_two_steps() -> None:
    first = trail([look(0), look(1), look(2, phase=Phase.SAVING)])
    assert seconds(first.work) == 0
    turned = trail([look(number, phase=(Phase.TRAINING, Phase.SAVING)[number % 2]) for number in range(100)])
    assert seconds(turned.work) == 98 * INTERVAL
    stepped = trail(
        [look(number, phase=(Phase.TRAINING, Phase.SAVING)[number % 2], step=number) for number in range(9)]
    )
    assert seconds(stepped.work) == 0


def test_cycling_through_phases_adds_nothing_to_the_history() -> None:
    turned = trail([look(number, phase=(Phase.SAMPLING, Phase.SAVING)[number % 2]) for number in range(100)])
    assert max(turned.slowest(phase) or 0 for phase in (Phase.SAMPLING, Phase.SAVING)) <= 2 * INTERVAL


@pytest.mark.parametrize(
    ("told", "kept"),
    [(1.3, 1.3), (29.0, 29.0), (None, 30.0), (50.0, 50.0), (32_400.0, 60.0), (-10_800.0, 0.0)],
)
def test_a_step_takes_the_reported_time_but_no_longer_than_the_time_between_the_looks(
    told: float | None, kept: float
) -> None:
    """The trainer's lines carry the wall clock's time. A suspend makes a step look long, and NTP makes it look long
    or negative."""
    made = trail([look(0), look(1, step=101), look(2, step=102, longest_step=told)], replace(USUAL, step_history=1))
    assert made.slowest(Phase.TRAINING) == kept


def test_the_first_step_of_a_phase_is_measured_from_its_beginning() -> None:
    """The compilation before that step has no line of its own, so the reported times don't include it."""
    waiting = [look(number) for number in range(20)]
    made = trail([*waiting, look(20, step=110, longest_step=1.2)])
    assert made.slowest(Phase.TRAINING) == 20 * INTERVAL


def test_anything_between_two_steps_that_is_not_a_step_is_forgotten() -> None:
    sampling = [look(number, phase=Phase.SAMPLING, done=number) for number in range(2, 40)]
    made = trail([look(0), look(1, step=101), *sampling, look(40, step=102, longest_step=1170.0)])
    assert made.slowest(Phase.TRAINING) == 30


LOADS, SAVES = {"phase": Phase.LOADING, "step": None}, {"phase": Phase.SAVING}


@pytest.mark.parametrize(
    ("before", "after", "slowest"),
    [
        pytest.param(LOADS, {"step": 19, "longest_step": 1.3}, 1.3, id="the first steps"),
        pytest.param(LOADS, {"step": 500}, None, id="a resume, or a trainer that tells no times"),
        pytest.param(SAVES, {**SAVES, "step": 116, "longest_step": 1.3}, 1.3, id="an epoch"),
        pytest.param(SAVES, {"step": 119, "longest_step": 40.0}, 40.0, id="a slow step"),
        pytest.param(SAVES, {"step": 119, "longest_step": 10_800.0}, None, id="the clock was set"),
        pytest.param({}, {**SAVES, "step": 116, "longest_step": 1.3}, INTERVAL, id="the first of them may be slower"),
        pytest.param({}, {**SAVES, "step": 116}, None, id="no times, and a checkpoint is no step"),
    ],
)
def test_steps_that_all_came_between_two_looks_are_a_history(
    before: dict[str, Any], after: dict[str, Any], slowest: float | None
) -> None:
    made = trail([look(0, **before), look(1, **after), look(2, **after | {"longest_step": None})])
    assert made.slowest(Phase.TRAINING) == slowest


def test_steps_before_a_checkpoint_take_the_reported_time() -> None:
    steps = [look(0), look(1, step=101), look(2, step=102, longest_step=1.3)]
    made = trail([*steps, look(3, **SAVES, step=116, longest_step=1.2)], replace(USUAL, step_history=1))
    assert made.slowest(Phase.TRAINING) == 1.2


@pytest.mark.parametrize(("longest", "slowest"), [(1.2, 1.2), (600.0, None)])
def test_the_first_look_knows_a_training_by_its_own_times_unless_they_may_be_old(
    longest: float, slowest: float | None
) -> None:
    """At its first look, a restarted daemon has read everything that the attempt has reported."""
    assert trail([look(0, longest_step=longest)]).slowest(Phase.TRAINING) == slowest


def test_the_slowest_of_the_last_steps_is_kept_and_older_ones_are_not() -> None:
    slow = [*(look(number) for number in range(10)), look(10, step=101)]
    quick = [look(10 + number, step=101 + 25 * number, longest_step=1.2) for number in range(1, 6)]
    assert trail([*slow, *quick[:3]]).slowest(Phase.TRAINING) == 300
    assert trail([*slow, *quick]).slowest(Phase.TRAINING) == 1.2


def test_a_stop_counts_while_no_step_is_made() -> None:
    held = [look(number, activity=busy(0, stopped=True)) for number in range(5)]
    assert seconds(trail(held).stopped) == 120
    assert trail([*held, look(5, activity=busy(0))]).stopped is None
    assert seconds(trail([*held, look(5, activity=None)]).stopped) == 120
    assert seconds(trail([*held, look(5, step=101, activity=busy(0, stopped=True))]).stopped) == 0
    assert seconds(trail([look(n, activity=busy(0, frozen=True)) for n in range(3)]).stopped) == 60


def test_a_fatal_error_counts_until_a_step_is_made_after_it() -> None:
    before = [look(0, gpus=(gpu(90),)), look(1, gpus=(gpu(90, xids=(79,)),))]
    after = [look(number, gpus=(gpu(90, xids=(79,)),)) for number in range(2, 6)]
    made = trail([*before, *after])
    assert seconds(made.fault) == 120
    assert made.fault_why == "the driver reported Xid 79: it has fallen off the bus"
    assert follow(made, look(6, step=101, gpus=(gpu(90, xids=(79,)),))).fault is None


def test_memory_is_constant() -> None:
    """The fold keeps no more after 5,000 looks than after 1,500."""

    def size(made: Trail) -> int:
        return sum(len(took) for took in made.took.values()) + len(made.moved_at) + len(made.xids_known)

    def run(count: int) -> Trail:
        return trail(
            look(number, step=number, phase=list(Phase)[number % 8], gpus=(gpu(50),)) for number in range(count)
        )

    assert size(run(5000)) == size(run(1500))


values = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from([None, *Phase]),
        "step": st.none() | st.integers(0, 3),
        "done": st.none() | st.integers(0, 3),
        "log_bytes": st.integers(0, 3),
        "cache_files": st.none() | st.integers(0, 3),
        "output_bytes": st.none() | st.integers(0, 3),
        "activity": st.none() | st.just(busy(0)),
        "gpus": st.none() | st.just((gpu(0),)) | st.just((gpu(90),)) | st.just((gpu(None),)),
    },
)


@given(st.lists(values, max_size=20), st.floats(0, 100))
def test_no_clock_runs_faster_than_time(steps: list[dict[str, Any]], gap: float) -> None:
    made, awake = begin(USUAL), -gap
    for number, step in enumerate(steps):
        made, awake = follow(made, look(number * gap / INTERVAL, **step)), awake + gap
        for clock in (made.work, made.counted, made.still, made.gpu_idle, made.stopped, made.fault):
            assert clock is None or 0 <= clock.seconds <= awake + 1e-6
