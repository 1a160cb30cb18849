# SPDX-License-Identifier: Apache-2.0
"""A job in words."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgym.protocol.messages import Exit, Job, WaitingFor
from fluxgymctl.prose import jobs, words
from fluxgymctl.verbs.list import rows
from fluxgymctl.verbs.status import facts
from tests.fluxgymctl.wire import NOW, attempt, job, progress

FULL = progress(
    step=120,
    totalSteps=400,
    epoch=3,
    totalEpochs=8,
    loss=0.5,
    averageLoss=0.1234,
    secondsPerStep=1.5,
    remainingSeconds=420.0,
)


def test_the_live_line_shows_phase_step_epoch_loss_speed_and_eta() -> None:
    assert jobs.live_line(job(progress=FULL)) == (
        "a  training  step 120/400 30%  epoch 3/8  loss 0.1234  1.50 s/step  ETA 7 min"
    )


@pytest.mark.parametrize(
    ("runtime", "line"),
    [
        ({"state": "queued", "waitingFor": "gpu"}, "a  queued, waits for a free GPU"),
        ({"state": "interrupted", "waitingFor": "start"}, "a  interrupted, is about to start"),
        (
            {"state": "stopping"},
            "a  stopping  step 120/400 30%  epoch 3/8  loss 0.1234  1.50 s/step  ETA 7 min",
        ),
    ],
)
def test_a_job_that_waits_shows_why_and_not_the_progress_of_its_last_attempt(
    runtime: dict[str, Any], line: str
) -> None:
    assert jobs.live_line(job(progress=FULL, **runtime)) == line


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "a  training  step 120/400 30%  epoch 3/8  loss 0.1234  1.50 s/step  ETA 7 min"),
        (70, "a  training  step 120/400 30%  loss 0.1234  1.50 s/step  ETA 7 min"),
        (60, "a  training  step 120/400 30%  loss 0.1234  ETA 7 min"),
        (40, "a  training  step 120/400 30%  ETA 7 min"),
        (30, "a  training  step 120/400 30%"),
        (20, "a  training"),
        (5, "a"),
    ],
)
def test_a_narrow_terminal_keeps_what_matters_most(width: int, line: str) -> None:
    assert jobs.live_line(job(progress=FULL), width=width) == line


@given(st.integers(0, 200))
def test_the_live_line_fits_any_terminal(width: int) -> None:
    assert len(jobs.live_line(job("a" * 64, progress=FULL), width=width)) <= width


@pytest.mark.parametrize(
    ("runtime", "cell"),
    [
        ({}, "-"),
        ({"progress": progress(step=1, totalSteps=4)}, "1/4 25%"),
        ({"progress": progress(phase="caching", done=3, total=20)}, "caching 3/20 15%"),
        ({"progress": progress(phase="loading")}, "loading"),
        ({"progress": progress(phase="dreaming")}, "unknown"),
        ({"progress": progress(phase="saving", step=4, totalSteps=4), "state": "completed"}, "4/4 100%"),
        ({"progress": progress(phase="loading"), "state": "failed"}, "-"),
    ],
)
def test_progress_is_the_step_or_what_else_runs(runtime: dict[str, Any], cell: str) -> None:
    assert jobs.progress(job(**runtime)) == cell


@pytest.mark.parametrize(
    ("runtime", "text"),
    [
        ({}, "-"),
        ({"reason": "The disk is full."}, "The disk is full."),
        ({"waitingFor": "gpu"}, "waits for a free GPU"),
        ({"waitingFor": "start", "reason": "after demo"}, "is about to start: after demo"),
        ({"waitingFor": "a_miracle"}, "waits for something that this version does not know"),
        ({"waitingFor": "held"}, "is held until `fluxgymctl release a`"),
        ({"waitingFor": "gpu", "reason": "There is none."}, "waits for its turn: There is none."),
        ({"waitingFor": "back_off"}, "will be retried after a pause"),
        ({"waitingFor": "back_off", "notBefore": NOW, "reason": "R."}, f"will be retried at {words.clock(NOW)}: R."),
        ({"waitingFor": "gpu", "notBefore": NOW}, "waits for a free GPU"),
        (
            {"waitingFor": "job", "reason": "b must be completed first."},
            "waits for another job: b must be completed first.",
        ),
    ],
)
def test_the_reason_says_what_the_job_waits_for_and_why(runtime: dict[str, Any], text: str) -> None:
    assert jobs.why(job(**runtime)) == text


def test_each_thing_that_a_job_may_wait_for_has_its_own_words() -> None:
    texts = [jobs.why(job(waitingFor=str(value))) for value in WaitingFor]
    assert len(set(texts)) == len(texts)
    assert [value for value in WaitingFor if jobs.why(job(waitingFor=str(value))).endswith("does not know")] == [
        WaitingFor.UNKNOWN
    ]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (None, "-"),
        ({"kind": "exited", "code": 0, "termSeen": False}, "exit status 0"),
        ({"kind": "exited", "code": 143, "termSeen": True}, "exit status 143, after SIGTERM"),
        (
            {"kind": "exited", "code": 130, "termSeen": True, "endingsSeen": [1, 2]},
            "exit status 130, after SIGHUP and SIGINT",
        ),
        ({"kind": "signaled", "signal": 9, "termSeen": False}, "killed by SIGKILL"),
        ({"kind": "signaled", "termSeen": False}, "killed by -"),
        ({"kind": "exited", "termSeen": False}, "exit status -"),
        ({"kind": "never_started", "termSeen": False}, "never started"),
        ({"kind": "exec_failed", "termSeen": False}, "could not be executed"),
        ({"kind": "unknown", "termSeen": False}, "unknown"),
        ({"kind": "teleported", "termSeen": False}, "unknown"),
    ],
)
def test_promise_2_an_exit_is_shown_as_it_was_recorded(record: dict[str, Any] | None, text: str) -> None:
    assert jobs.exit_words(msgspec.convert(record, Exit | None)) == text


SLOW = {"since": NOW - 300, "secondsPerStep": 3.0, "usual": 0.8}


def test_slow_steps_are_shown_with_their_usual_time() -> None:
    since = words.clock(NOW - 300)
    assert jobs.slow(job()) is None
    assert jobs.slow(job(slow=SLOW)) == f"slow since {since}: 3.00 s/step, usually 1.25 steps/s"
    assert jobs.live_line(job(slow=SLOW)) == "a  running  slow"
    (cells,) = rows([job(slow=SLOW)], now=NOW)
    assert cells[-1] == jobs.slow(job(slow=SLOW))
    stuck = {"verdict": "stuck", "why": "Nothing moved."}
    (cells,) = rows([job(slow=SLOW, watchdog=stuck)], now=NOW)
    assert cells[-1] == "stuck: Nothing moved."
    assert dict(facts(job(slow=SLOW), now=NOW))["Slow"].endswith("(5 min ago): 3.00 s/step, usually 1.25 steps/s")


def test_status_shows_restarts_and_energy() -> None:
    shown = dict(facts(job(restarts=1, restartsAllowed=4, energy=1250.0), now=NOW))
    assert (shown["Restarts"], shown["Energy"]) == ("1 of 4", "1.25 kWh")
    assert not {"Restarts", "Energy", "Slow"} & dict(facts(job(restarts=0, restartsAllowed=4), now=NOW)).keys()


def at(**facts: Any) -> Job:
    return job(progress=progress(**facts))


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [
        (None, job(), True),
        (job(), job(), False),
        (job(), job(state="stopping"), True),
        (job(), job(reason="Why."), True),
        (job(), job(slow=SLOW), True),
        (job(attempt=attempt()), job(attempt=attempt(number=2)), True),
        (at(step=5, totalSteps=100), at(step=6, totalSteps=100), False),
        (at(step=9, totalSteps=100), at(step=10, totalSteps=100), True),
        (at(step=5, totalSteps=100, epoch=1), at(step=6, totalSteps=100, epoch=2), True),
        (at(phase="loading"), at(phase="caching", done=1, total=2), True),
        (at(phase="caching", done=1, total=2), at(phase="caching", done=2, total=2), False),
        (job(state="unknown"), job(state="invented"), False),
    ],
)
def test_a_change_is_written_at_each_landmark(before: Job | None, after: Job, written: bool) -> None:
    assert jobs.worth_a_line(before, after) is written


def test_the_end_says_where_the_lora_is_or_why_there_is_none() -> None:
    assert jobs.ending(job(state="completed", result="/h/a/a.safetensors")) == "a completed: /h/a/a.safetensors"
    assert jobs.ending(job(state="failed", reason="exit status 1")) == "a failed: exit status 1"
    assert jobs.ending(job(state="stopped")) == "a stopped"
