# SPDX-License-Identifier: Apache-2.0
"""Tests of promise 7 on the traces: no healthy trace is judged stuck at any look, and every hang is found within its
limit plus one interval, with evidence. This also holds if the looks are shifted or left out, or if NVML is silent.
"""

from collections.abc import Container
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgym.watchdog import FLOOR_SECONDS
from fluxgymd.core.watchdog.observation import Observation
from tests.traces.collection import HEALTHY, STUCK
from tests.traces.looking import Change, first_stuck, looks, verdicts, waited
from tests.traces.recorded import Recorded, read, recorded
from tests.traces.trace import Trace

INTERVAL = 30.0
EVERY = range(10_000)
RARE = {"gpu_idle", "gpu_fault"}
"""Rules that need NVML. If NVML is silent, other rules find the hangs that only these rules find, but later."""

healthy_traces = pytest.mark.parametrize("trace", HEALTHY.traces, ids=lambda trace: trace.name)
stuck_traces = pytest.mark.parametrize("trace", STUCK.traces, ids=lambda trace: trace.name)
a_few = settings(max_examples=5, deadline=None)
some = st.sets(st.integers(0, 400))
offsets = st.floats(0, INTERVAL - 0.1)


def assert_healthy(trace: Trace, observations: list[Observation]) -> None:
    found = first_stuck(observations, trace.limits)
    assert found is None, f"{trace.name}: {found[1]} at {found[0].at} s, but {trace.reason}"


def assert_found(trace: Trace, observations: list[Observation], *, blind: bool = False) -> None:
    """Checks that a hang is found by one of its rules, with evidence, not before FLOOR_SECONDS, within its limit."""
    found = first_stuck(observations, trace.limits)
    assert found is not None, f"{trace.name} is never judged stuck, but {trace.reason}"
    seen, verdict = found
    assert seen.look.clock >= 1000 + (trace.run.hang_at or 0) + FLOOR_SECONDS - INTERVAL, verdict
    assert verdict.evidence
    assert all(sentence.endswith(".") for sentence in (verdict.why, *verdict.evidence))
    if not blind:
        assert verdict.rule in trace.rules, verdict
    if not (blind and RARE & set(trace.rules)):
        before = max(look.clock for look in observations if look.clock < seen.look.clock)
        assert waited(observations, trace.run, until=before, interval=INTERVAL) < (trace.within or 0), verdict


@healthy_traces
def test_promise_7_no_healthy_trace_is_judged_stuck(trace: Trace) -> None:
    assert_healthy(trace, looks(trace.run))


@stuck_traces
def test_promise_7_every_hang_is_found_within_its_limit_and_one_interval(trace: Trace) -> None:
    assert_found(trace, looks(trace.run))


@healthy_traces
@a_few
@given(offset=offsets, dropped=some, blind=some, untold=some, unseen=some)
def test_promise_7_healthy_traces_stay_healthy_wherever_the_looks_fall(
    trace: Trace, offset: float, dropped: set[int], blind: set[int], untold: set[int], unseen: set[int]
) -> None:
    change = partly(dropped=dropped, blind=set() if trace.needs_nvml else blind, untold=untold, unseen=unseen)
    assert_healthy(trace, looks(trace.run, offset=offset, change=change))


@stuck_traces
@a_few
@given(offset=offsets)
def test_promise_7_hangs_are_found_wherever_the_looks_fall(trace: Trace, offset: float) -> None:
    assert_found(trace, looks(trace.run, offset=offset))


@stuck_traces
@a_few
@given(offset=offsets, chosen=st.sets(st.integers(0, 600)))
def test_promise_7_hangs_are_found_when_looks_are_left_out(trace: Trace, offset: float, chosen: set[int]) -> None:
    single = {number for number in chosen if number - 1 not in chosen}
    assert_found(trace, looks(trace.run, offset=offset, change=partly(dropped=single)))


@stuck_traces
@a_few
@given(offset=offsets, blind=st.sets(st.integers(0, 600), max_size=300))
def test_promise_7_hangs_are_found_when_nvml_is_silent_at_times(trace: Trace, offset: float, blind: set[int]) -> None:
    observations = looks(trace.run, offset=offset, change=partly(blind=blind))
    assert_found(trace, observations, blind=True)


@pytest.mark.parametrize(
    "trace", [trace for trace in HEALTHY.traces if not trace.needs_nvml], ids=lambda trace: trace.name
)
def test_promise_7_healthy_traces_stay_healthy_without_nvml(trace: Trace) -> None:
    assert_healthy(trace, looks(trace.run, change=partly(blind=EVERY)))


@stuck_traces
def test_promise_7_hangs_are_found_without_nvml(trace: Trace) -> None:
    without = looks(trace.run, change=partly(blind=EVERY))
    assert_found(trace, without, blind=True)


@healthy_traces
def test_promise_7_healthy_traces_stay_healthy_if_a_foreign_trainer_reports_no_times(trace: Trace) -> None:
    assert_healthy(trace, looks(trace.run, change=partly(foreign=EVERY)))


@stuck_traces
def test_promise_7_hangs_are_found_if_a_foreign_trainer_reports_no_times(trace: Trace) -> None:
    """The time of a step is then known only to about one interval, and not at all if the looks see no step."""
    if trace.name == "a_hang_of_slow_steps":
        trace = replace(trace, within=5 * 120)
    if trace.name == "a_hang_of_short_epochs":
        trace = replace(trace, rules=("progress",), within=1800)
    assert_found(trace, looks(trace.run, change=partly(foreign=EVERY)))


@stuck_traces
def test_promise_7_a_verdict_only_gets_worse_while_nothing_changes(trace: Trace) -> None:
    order = {"Healthy": 0, "Suspicious": 1, "Stuck": 2}
    observations = looks(trace.run)
    begun = [look for look in observations if look.clock <= 1000 + (trace.run.hang_at or 0)]
    last = begun[-1]
    held = [replace_time(last, number * INTERVAL) for number in range(1, 500)]
    ranks = [order[type(seen.verdict).__name__] for seen in verdicts([*begun, *held], trace.limits)][len(begun) :]
    assert ranks == sorted(ranks)
    assert set(ranks[1:]) >= {1, 2}


def test_the_collection_is_large_enough() -> None:
    assert len(HEALTHY.traces) >= 25
    assert len(STUCK.traces) >= 25
    names = [trace.name for trace in (*HEALTHY.traces, *STUCK.traces)]
    assert len(names) == len(set(names))
    assert all(trace.reason.endswith(".") for trace in (*HEALTHY.traces, *STUCK.traces))


def test_each_rule_is_needed() -> None:
    """Each rule finds a hang that no other rule finds in time."""
    alone = {trace.rules[0] for trace in STUCK.traces if len(trace.rules) == 1}
    assert alone == {"still", "gpu_idle", "progress", "step", "stopped", "gpu_fault"}


@pytest.mark.parametrize("trace", recorded(), ids=lambda trace: trace.header.name)
def test_promise_7_recorded_traces_get_the_right_verdict(trace: Recorded) -> None:
    """A hang is found after its last work, and not before FLOOR_SECONDS."""
    found = first_stuck(trace.observations, trace.limits)
    if trace.header.expected == "healthy":
        assert found is None, f"{found}, but {trace.header.reason}"
        return
    assert found is not None, f"never judged stuck, but {trace.header.reason}"
    assert found[0].look.clock - trace.last_work >= trace.limits.step_floor - trace.limits.interval
    assert found[1].evidence


def test_real_hangs_and_real_healthy_runs_are_recorded() -> None:
    expected = [trace.header.expected for trace in recorded()]
    assert expected.count("healthy") >= 12
    assert expected.count("stuck") >= 20


def test_a_recorded_trace_is_read_with_its_own_time(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    header = b'{"name":"x","reason":"It hangs.","expected":"stuck","scale":60}'
    run = STUCK.traces[0].run
    path.write_bytes(b"\n".join([header, *(msgspec.json.encode(look) for look in looks(run))]))
    trace = read(path)
    assert trace.limits.interval == pytest.approx(0.5)
    assert trace.limits.step_floor == pytest.approx(5)
    assert list(trace.observations) == looks(run)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "x.jsonl:1 is no part"),
        (b'{"name":"x","reason":"r","expected":"well"}\n{"at":1,"clock":1}', "must expect healthy or stuck"),
        (b'{"name":"x","reason":"r","expected":"stuck"}', "holds no observation"),
        (b'{"name":"x","reason":"r","expected":"stuck"}\n{"at":1,"clock":1}\n{', "x.jsonl:3 is no part"),
    ],
)
def test_a_file_that_is_not_a_trace_is_refused(text: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=told):
        read(path)


def partly(
    *,
    dropped: Container[int] = (),
    blind: Container[int] = (),
    untold: Container[int] = (),
    unseen: Container[int] = (),
    foreign: Container[int] = (),
) -> Change:
    """Returns a change that drops looks (`dropped`), silences NVML (`blind`), makes the files (`untold`) or the
    processes (`unseen`) unreadable, or removes the times of steps, which a foreign trainer may not report
    (`foreign`). Each set has the numbers of the looks."""

    def change(number: int, look: Observation) -> Observation | None:
        if number in dropped:
            return None
        if number in blind and look.gpus != ():
            look = msgspec.structs.replace(look, gpus=None)
        if number in untold:
            look = msgspec.structs.replace(look, told=False, cache_files=None, output_bytes=None)
        if number in unseen:
            look = msgspec.structs.replace(look, activity=None, listed=None)
        return msgspec.structs.replace(look, longest_step=None) if number in foreign else look

    return change


def replace_time(look: Observation, later: float) -> Observation:
    return msgspec.structs.replace(look, at=look.at + later, clock=look.clock + later, longest_step=None)
