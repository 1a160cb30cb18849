# SPDX-License-Identifier: Apache-2.0
"""The verdict: each rule just before and at its limit, and what holds for all histories."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgym.protocol.messages import Phase
from fluxgym.watchdog import FLOOR_SECONDS
from fluxgymd.core.watchdog.judge import judge, rules, work_limit
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.core.watchdog.trail import Took, begin, follow
from fluxgymd.core.watchdog.verdict import Healthy, Stuck, Suspicious, Verdict
from tests.core.watchdog.looking import BEGIN, INTERVAL, busy, gpu, look, trail
from tests.core.watchdog.usual import USUAL as LIMITS

SPINNING: dict[str, Any] = {"cpu": 1.0}


def after(seconds: float, *, before: list[Observation] | None = None, **values: Any) -> Verdict:
    """The verdict after `values` were seen for `seconds`, during which nothing but the processor time changed."""
    cpu = values.pop("cpu", 0.0)
    states = values.pop("states", {})
    first = len(before or [])
    count = int(seconds / INTERVAL)
    seen = [
        look(number, **({"activity": busy(number, cpu=cpu, **states)} | values))
        for number in range(first, first + count + 1)
    ]
    return judge(trail([*(before or []), *seen], LIMITS), LIMITS)


STEPS = [look(number, step=number, activity=busy(number, cpu=1.0)) for number in range(101)]
"""One step at each look, up to step 100."""

ROWS: list[tuple[str, float, dict[str, Any]]] = [
    ("still", 600, {"phase": Phase.STARTING}),
    ("still", 600, {"phase": Phase.DOWNLOADING}),
    ("still", 900, {"phase": Phase.LOADING}),
    ("still", 600, {"phase": Phase.CACHING}),
    ("still", 600, {"phase": Phase.TRAINING}),
    ("still", 600, {"phase": Phase.SAMPLING}),
    ("still", 1200, {"phase": Phase.SAVING}),
    ("still", 1200, {"phase": Phase.FINISHING}),
    ("still", 3600, {"phase": None, "step": None}),
    ("still", 3600, {"phase": Phase.UNKNOWN, "step": None}),
    ("still", 600, {"gpus": (gpu(None),)}),
    ("still", 900, {"phase": Phase.LOADING, "gpus": (gpu(0),)}),
    ("gpu_idle", 300, {"phase": Phase.CACHING, "gpus": (gpu(0),)}),
    ("gpu_idle", 300, {"phase": Phase.TRAINING, "gpus": (gpu(4), gpu(0, uuid="GPU-1"))}),
    ("gpu_idle", 300, {"phase": Phase.SAMPLING, "gpus": (gpu(0),)}),
    ("progress", 1800, {"phase": Phase.STARTING, **SPINNING}),
    ("progress", 3600, {"phase": Phase.DOWNLOADING, **SPINNING}),
    ("progress", 3600, {"phase": Phase.LOADING, **SPINNING}),
    ("progress", 1800, {"phase": Phase.CACHING, **SPINNING, "gpus": (gpu(100),)}),
    ("progress", 1800, {"phase": Phase.TRAINING, **SPINNING, "gpus": (gpu(0),)}),
    ("progress", 1800, {"phase": Phase.TRAINING, "gpus": (gpu(100),)}),
    ("progress", 1800, {"phase": Phase.SAMPLING, **SPINNING}),
    ("progress", 3600, {"phase": Phase.SAVING, **SPINNING}),
    ("progress", 3600, {"phase": Phase.FINISHING, **SPINNING}),
    ("stopped", 300, {"phase": Phase.LOADING, "states": {"stopped": True}, **SPINNING}),
    ("stopped", 300, {"phase": None, "step": None, "states": {"frozen": True}}),
    ("gpu_fault", 300, {"phase": Phase.CACHING, "gpus": (gpu(None, lost=True),), **SPINNING}),
]


@pytest.mark.parametrize(("rule", "limit", "values"), ROWS)
def test_promise_7_each_rule_at_its_limit(rule: str, limit: float, values: dict[str, Any]) -> None:
    """The training is suspicious before the limit and stuck at it. The sentence names the limit, and there is
    evidence."""
    assert isinstance(after(limit - INTERVAL, **values), Suspicious)
    verdict = after(limit, **values)
    assert isinstance(verdict, Stuck)
    assert verdict.rule == rule
    assert "the limit is" in verdict.why
    assert verdict.since == BEGIN
    assert len(verdict.evidence) >= 2


def test_a_step_has_a_limit_of_its_own_history() -> None:
    assert isinstance(after(240, before=STEPS, cpu=1.0), Suspicious)
    verdict = after(270, before=STEPS, cpu=1.0)
    assert isinstance(verdict, Stuck)
    assert verdict.rule == "step"
    assert "step 100" in verdict.evidence[0]


@pytest.mark.parametrize(
    ("slowest", "phase", "limit"),
    [
        (1.2, Phase.TRAINING, 300),
        (60.0, Phase.TRAINING, 300),
        (480.0, Phase.TRAINING, 2400),
        (None, Phase.TRAINING, 1800),
        (45.0, Phase.SAMPLING, 1800),
        (600.0, Phase.SAMPLING, 3000),
        (2.0, Phase.CACHING, 1800),
        (1000.0, Phase.SAVING, 5000),
    ],
)
def test_the_time_that_work_may_take_is_bounded(slowest: float | None, phase: Phase, limit: float) -> None:
    made = begin(LIMITS) if slowest is None else replace(begin(LIMITS), took={phase: (Took(1, slowest),)})
    assert work_limit(made, LIMITS, phase) == limit


def test_bytes_that_flow_forever_are_bounded() -> None:
    """The loading goes on reading, but for four hours nothing is counted."""

    def reads(seconds: float) -> Verdict:
        count = int(seconds / INTERVAL)
        return judge(
            trail(look(n, phase=Phase.LOADING, activity=busy(n, cpu=1, io=1e7)) for n in range(count + 1)), LIMITS
        )

    assert isinstance(reads(7000), Healthy)
    assert isinstance(reads(4 * 3600 - INTERVAL), Suspicious)
    assert isinstance(reads(4 * 3600), Stuck)


@pytest.mark.parametrize(
    ("seconds", "values", "why"),
    [
        (30, {"states": {"stopped": True}}, "Its process was stopped."),
        (30, {"states": {"frozen": True}}, "Its cgroup was frozen."),
        (
            120,
            {"states": {"blocked_threads": 3}},
            "Some of its threads wait in the kernel, and nothing is read or written.",
        ),
        (120, {"memory_pressure": 60.0}, "Memory is short, and all of the job's tasks are waiting for it."),
        (
            30,
            {"gpus": (gpu(90), gpu(None, uuid="GPU-1", lost=True))},
            "No work was counted after a GPU error (GPU 0 is lost",
        ),
    ],
)
def test_some_signs_make_it_suspicious_before_any_limit(seconds: float, values: dict[str, Any], why: str) -> None:
    verdict = after(seconds, **values, **SPINNING)
    assert isinstance(verdict, Suspicious)
    assert verdict.why.startswith(why)
    assert isinstance(after(seconds - INTERVAL, **values, **SPINNING), Healthy)


def test_an_error_that_is_not_fatal_is_reported_until_the_next_step() -> None:
    first = [look(0, gpus=(gpu(90),)), look(1, gpus=(gpu(90, xids=(31,)),))]
    for seen in (first, [*first, look(2, gpus=(gpu(90, xids=(31,)),))]):
        verdict = judge(trail(seen), LIMITS)
        told = "The driver reported Xid 31, and no work was counted since."
        assert verdict == Suspicious(why=told, since=BEGIN + INTERVAL)
    assert isinstance(judge(trail([*first, look(2, step=101, gpus=(gpu(90, xids=(31,)),))]), LIMITS), Healthy)


def test_progress_that_cannot_be_read_is_suspicious_and_never_stuck() -> None:
    """A volume that hangs for the daemon says nothing about a training that works in memory."""
    blind = [look(n, phase=None, step=None, log_bytes=0, activity=busy(n, cpu=1.0)) for n in range(101, 1000)]
    verdict = judge(trail([*STEPS, *blind]), LIMITS)
    assert verdict == Suspicious(
        why="The progress that it has reported cannot be read.", since=BEGIN + 101 * INTERVAL
    )


def test_promise_7_a_training_whose_progress_file_was_replaced_is_suspicious_at_once_and_never_stuck() -> None:
    """The trainer keeps writing to the file that was moved away. The last values that were read are still shown,
    although they are old."""
    why = "metrics.jsonl was replaced by another file"
    replaced = [look(n, told=False, untold_why=why, activity=busy(n, cpu=1.0)) for n in range(101, 1000)]
    doubt = Suspicious(why=f"Its progress is unknown: {why}.", since=BEGIN + 101 * INTERVAL)
    for end in (1, len(replaced)):
        assert judge(trail([*STEPS, *replaced[:end]]), LIMITS) == doubt
    # A daemon that was started after that has never read a line.
    blind = [
        look(n, phase=None, step=None, told=False, untold_why=why, activity=busy(n, cpu=1.0)) for n in range(999)
    ]
    verdict = judge(trail(blind), LIMITS)
    assert verdict == Suspicious(why=f"Its progress is unknown: {why}.", since=BEGIN)
    back = [look(n, step=200 + n, activity=busy(n, cpu=1.0)) for n in (1000, 1001)]
    assert isinstance(judge(trail([*STEPS, *replaced, *back]), LIMITS), Healthy)


def test_promise_7_a_training_that_cannot_write_its_progress_is_suspicious_and_never_stuck() -> None:
    full = [look(n, disk_free=0, activity=busy(n, cpu=1.0)) for n in range(101, 1000)]
    verdict = judge(trail([*STEPS, *full]), LIMITS)
    told = "Its disk is full, so it cannot report its progress."
    assert verdict == Suspicious(why=told, since=BEGIN + 101 * INTERVAL)
    room = [look(n, step=200 + n, activity=busy(n, cpu=1.0)) for n in (1000, 1001)]
    assert isinstance(judge(trail([*STEPS, *full, *room]), LIMITS), Healthy)


def test_a_fatal_error_says_nothing_about_a_program() -> None:
    """The work of a program can't be seen, so FluxGym can't say that it has ended."""
    seen = [look(n, phase=None, step=None, gpus=(gpu(50, xids=(79,) * min(n, 1)),)) for n in range(60)]
    assert isinstance(judge(trail(seen), LIMITS), Suspicious)


def test_limits_can_be_set() -> None:
    quick = replace(LIMITS, step_floor=60, step_factor=2)
    seen = [*STEPS, *(look(n, activity=busy(n, cpu=1.0)) for n in range(101, 104))]
    assert isinstance(judge(trail(seen, quick), quick), Stuck)
    assert isinstance(judge(trail(seen), LIMITS), Healthy)


look_values = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from([None, Phase.LOADING, Phase.TRAINING, Phase.TRAINING, Phase.SAMPLING, Phase.SAVING]),
        "step": st.none() | st.integers(100, 102),
        "done": st.none() | st.integers(0, 3),
        "longest_step": st.none() | st.floats(-1e5, 1e5),
        "log_bytes": st.integers(0, 3),
        "output_bytes": st.none() | st.integers(0, 3),
        "memory_pressure": st.none() | st.floats(0, 100),
        "activity": st.none()
        | st.builds(
            busy,
            st.just(0),
            stopped=st.booleans(),
            frozen=st.booleans(),
            blocked_threads=st.integers(0, 1),
        ),
        "gpus": st.none()
        | st.tuples(st.builds(gpu, st.none() | st.integers(0, 100), lost=st.booleans()))
        | st.just((gpu(0, xids=(79,)),)),
    },
)
histories = st.lists(st.tuples(st.integers(1, 30), look_values), min_size=1, max_size=8)


@settings(max_examples=300, deadline=None)
@given(histories, st.floats(1, 70))
def test_promise_7_nothing_is_judged_stuck_without_evidence_or_before_the_minimum_time(
    history: list[tuple[int, dict[str, Any]]], gap: float
) -> None:
    """Whatever is seen in whatever order: the evidence consists of sentences, and at least five minutes have passed
    since the last step."""
    made, awake, number = begin(LIMITS), 0.0, 0
    for times, values in history:
        for _ in range(times):
            before = made
            made = follow(made, look(number * gap / INTERVAL, **values))
            awake, number = awake + gap, number + 1
            if before.looks == 0 or (made.movement is not None and made.movement.steps):
                awake = 0.0
            verdict = judge(made, LIMITS)
            if isinstance(verdict, Stuck):
                assert awake >= FLOOR_SECONDS - 1e-6
                assert verdict.evidence
                assert all(sentence.strip() and sentence.endswith(".") for sentence in verdict.evidence)
                assert verdict.why.endswith(".")


@given(look_values)
def test_promise_7_nothing_is_judged_stuck_after_a_single_look(values: dict[str, Any]) -> None:
    for limits in (LIMITS, replace(LIMITS, stopped=0, gpu_idle=0, gpu_fault=0, without_phase=0, step_floor=0)):
        assert not isinstance(judge(trail([look(0, **values)], limits), limits), Stuck)


@settings(max_examples=100, deadline=None)
@given(histories)
def test_promise_7_a_verdict_only_gets_worse_while_nothing_changes(history: list[tuple[int, dict[str, Any]]]) -> None:
    order: list[type] = [Healthy, Suspicious, Stuck]
    seen = [values for times, values in history for _ in range(times)]
    made = trail(look(number, **values) for number, values in enumerate(seen))
    worst = 0
    for number in range(len(seen), len(seen) + 130):
        made = follow(made, look(number, **{**seen[-1], "longest_step": None}))
        rank = order.index(type(judge(made, LIMITS)))
        if number > len(seen):  # the first repetition is only the baseline
            assert rank >= worst
        worst = rank


def test_each_rule_that_applies_is_named_once() -> None:
    made = trail([*STEPS, look(101, gpus=(gpu(0, xids=()),))])
    assert [rule.name for rule in rules(made, LIMITS)] == ["gpu_idle", "still", "step", "progress"]
