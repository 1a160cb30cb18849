# SPDX-License-Identifier: Apache-2.0
"""A job is the fold of its events: every event in every state, and what holds for all histories."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgymd.core import events as e
from fluxgymd.core.job import (
    BadHistory,
    Failed,
    Final,
    Interrupted,
    Job,
    Live,
    Lost,
    Queued,
    Running,
    State,
    Stopped,
    Stopping,
    apply,
    fold,
)
from tests.core import histories as h

# What each event makes of each state. "-": it cannot be, and the job is damaged rather than guessed at.
TABLE = """
                    | submitted reserved spawned placed started stop_asked sight_lost sight_regained completed failed stopped interrupted never_started cancelled resume_asked
nothing             | queued    -        -       -      -       -          -          -              -         -      -       -           -             -         -
queued              | -         starting -       -      -       -          -          -              -         -      -       -           -             stopped   -
starting            | -         -        starting starting running stopping lost      starting       completed failed stopped interrupted queued        -         -
running             | -         -        running running running stopping  lost       running        completed failed stopped interrupted queued        -         -
stopping            | -         -        stopping stopping stopping stopping lost-while-stopping stopping completed failed stopped interrupted queued   -         -
lost                | -         -        lost    lost   lost    lost-while-stopping lost running     completed failed stopped interrupted queued        -         -
lost while stopping | -         -        lost-while-stopping lost-while-stopping lost-while-stopping lost-while-stopping lost-while-stopping stopping completed failed stopped interrupted queued - -
completed           | -         -        -       -      -       -          -          -              -         -      -       -           -             -         queued
failed              | -         -        -       -      -       -          -          -              -         -      -       -           -             -         queued
stopped             | -         -        -       -      -       -          -          -              -         -      -       -           -             -         queued
interrupted         | -         starting -       -      -       -          -          -              -         -      -       -           -             stopped   -
"""  # noqa: E501 - a table reads as one


def cells() -> list[tuple[str, str, str]]:
    head, *rows = TABLE.strip("\n").splitlines()
    names = head.partition("|")[2].split()
    found = []
    for row in rows:
        state, _, outcomes = row.partition("|")
        found += [(state.strip(), *cell) for cell in zip(names, outcomes.split(), strict=True)]
    return found


def called(state: State) -> str:
    name = type(state).__name__.lower()
    return f"{name}-while-stopping" if isinstance(state, Lost) and state.stop_asked else name


def folded(way: str) -> Job | None:
    return fold(h.WAYS[way]) if h.WAYS[way] else None


def test_the_table_knows_every_state_and_every_event() -> None:
    assert {type(fold(way).state) for way in h.WAYS.values() if way} == set(get_args(State))
    assert {type(event) for event in h.next_events(1).values()} == set(get_args(e.AnyEvent))
    assert {(state, event) for state, event, _ in cells()} == {
        (state, event) for state in h.WAYS for event in h.next_events(1)
    }


@pytest.mark.parametrize(("state", "event", "outcome"), cells())
def test_every_event_in_every_state(state: str, event: str, outcome: str) -> None:
    before = folded(state)
    what = h.next_events(before.attempts if before else 0)[event]
    if outcome == "-":
        with pytest.raises(BadHistory):
            apply(before, what)
    else:
        assert called(apply(before, what).state) == outcome


@pytest.mark.parametrize(
    "event", ["spawned", "placed", "started", "stop_asked", "sight_lost", "sight_regained", *h.OUTCOMES]
)
def test_an_event_of_another_attempt_cannot_be(event: str) -> None:
    with pytest.raises(BadHistory, match="is of attempt 2, but 1 ran"):
        apply(folded("running"), h.next_events(2)[event])


@pytest.mark.parametrize("number", [0, 1, 3])
def test_attempts_are_counted_without_a_gap(number: int) -> None:
    with pytest.raises(BadHistory, match=f"attempt {number} follows attempt 1"):
        apply(folded("interrupted"), h.reserved(number))


def test_no_event_is_no_job() -> None:
    with pytest.raises(BadHistory, match="there is no event"):
        fold([])


def test_an_outcome_of_a_newer_version_is_not_guessed_at() -> None:
    with pytest.raises(BadHistory, match="'exploded', which this version does not know"):
        apply(folded("running"), h.ended("exploded"))


def test_the_submit_is_what_the_job_is() -> None:
    job = fold([h.submitted(name="cat", job_id="a" * 32, priority=3, rank=5.5, at=12.0)])
    assert (job.name, job.id, job.priority, job.rank, job.submitted_at) == ("cat", "a" * 32, 3, 5.5, 12.0)
    assert (job.attempts, job.last, job.steps_lost, job.checkpoint_step, job.fruitless) == (0, None, 0, 0, 0)


def test_an_attempt_keeps_all_that_was_recorded_of_it() -> None:
    reservation = h.reserved(step=40)
    job = fold([h.submitted(), reservation, h.spawned(), h.placed(), h.started()])
    assert isinstance(job.state, Running)
    attempt = job.state.attempt
    told = {name: getattr(attempt, name) for name in attempt.__struct_fields__ if hasattr(reservation, name)}
    assert told == {**{name: getattr(reservation, name) for name in told}, "gpus": ("GPU-1",)}
    assert attempt.number == 1
    assert attempt.reserved_at == reservation.at
    assert (attempt.shim, attempt.placement, attempt.trainer) == (
        h.spawned().shim,
        h.placed().placement,
        h.started().trainer,
    )
    assert job.last == attempt


def test_the_end_of_an_attempt_is_kept_with_it() -> None:
    end = h.ended("failed")
    job = fold([*h.WAYS["running"], end])
    assert job.last is not None
    assert (job.last.ended_at, job.last.exit, job.last.trainer) == (end.at, end.exit, h.started().trainer)
    assert job.state == Failed(end.reason)


def test_a_stop_that_was_asked_for_stays_asked_for_when_the_trainer_is_seen() -> None:
    job = fold([h.submitted(), h.reserved(), h.stop_asked(), h.started()])
    assert isinstance(job.state, Stopping)
    assert job.state.attempt.trainer == h.started().trainer


@pytest.mark.parametrize(
    ("way", "lease"),
    [
        ("queued", None),
        ("starting", ("GPU-1",)),
        ("running", ("GPU-1",)),
        ("stopping", ("GPU-1",)),
        ("lost", ("GPU-1",)),
        ("lost while stopping", ("GPU-1",)),
        ("interrupted", None),
        ("completed", None),
        ("failed", None),
        ("stopped", None),
    ],
)
def test_promise_4_a_job_keeps_its_gpu_until_its_end_is_proved(way: str, lease: tuple[str, ...] | None) -> None:
    assert fold(h.WAYS[way]).lease == lease


def test_the_cpu_slot_is_a_lease_too() -> None:
    assert fold([h.submitted(), h.reserved(gpus=())]).lease == ()


def after_ends(*ends: tuple[str, int]) -> Job:
    """The job after attempts that ended with this outcome and these steps in the newest checkpoint."""
    history: list[e.AnyEvent] = [h.submitted()]
    for number, (outcome, step) in enumerate(ends, start=1):
        history += [h.reserved(number), h.ended(outcome, number, checkpoint_step=step, steps_lost=3)]
    return fold(history)


@pytest.mark.parametrize(
    ("ends", "fruitless"),
    [
        ([("interrupted", 0)], 1),
        ([("interrupted", 10)], 0),
        ([("interrupted", 10), ("interrupted", 10)], 1),
        ([("interrupted", 10), ("interrupted", 9), ("interrupted", 10)], 2),
        ([("interrupted", 10), ("interrupted", 10), ("interrupted", 11)], 0),
        # A start that did not come about neither counts nor clears the count.
        ([("interrupted", 0), ("never_started", 0)], 1),
        ([("interrupted", 0), ("never_started", 0), ("interrupted", 0)], 2),
        ([("never_started", 0), ("never_started", 0)], 0),
    ],
)
def test_interruptions_without_a_newer_checkpoint_are_counted(ends: list[tuple[str, int]], fruitless: int) -> None:
    assert after_ends(*ends).fruitless == fruitless


def test_promise_5_lost_steps_add_up_and_the_newest_checkpoint_stands() -> None:
    job = after_ends(("interrupted", 10), ("interrupted", 30), ("interrupted", 20))
    assert (job.steps_lost, job.checkpoint_step, job.attempts) == (9, 30, 3)


def test_a_resume_by_the_user_forgives_the_interruptions() -> None:
    failed = fold([h.submitted(), h.reserved(), h.ended("interrupted"), h.reserved(2), h.ended("failed", 2)])
    again = apply(failed, h.RESUME_ASKED)
    assert again.state == Queued()
    assert again.fruitless == 0
    assert again.attempts == 2
    cancelled = apply(after_ends(("interrupted", 0), ("interrupted", 0)), h.CANCELLED)
    assert cancelled.fruitless == 2
    assert apply(cancelled, h.RESUME_ASKED).fruitless == 0


def test_a_cancelled_job_says_that_it_never_ran() -> None:
    assert fold([h.submitted(), h.CANCELLED]).state == Stopped("It was cancelled before it ran.")


def test_an_interrupted_job_says_why() -> None:
    assert fold(h.WAYS["interrupted"]).state == Interrupted("It is interrupted.")


steps = st.tuples(
    st.sampled_from(sorted(h.next_events(1))),
    st.integers(min_value=0, max_value=50),
    st.integers(min_value=0, max_value=5),
)


@settings(deadline=None)  # no test depends on a time
@given(st.lists(steps, max_size=40))
def test_what_holds_after_any_history(choices: list[tuple[str, int, int]]) -> None:
    job = fold([h.submitted()])
    history: list[e.AnyEvent] = [h.submitted()]
    attempts = lost = best = 0
    for name, checkpoint_step, steps_lost in choices:
        event = h.next_events(job.attempts)[name]
        if name in h.OUTCOMES:
            event = h.ended(name, job.attempts, checkpoint_step=checkpoint_step, steps_lost=steps_lost)
        before = job
        try:
            job = apply(before, event)
        except BadHistory:
            continue
        history.append(event)
        attempts += isinstance(event, e.Reserved)
        if isinstance(event, e.Ended):
            lost += steps_lost
            best = max(best, checkpoint_step)

        assert (job.lease is not None) == isinstance(job.state, Live)
        assert (job.attempts, job.steps_lost, job.checkpoint_step) == (attempts, lost, best)
        assert (job.last.number if job.last else 0) == attempts
        if isinstance(job.state, Live):
            assert job.state.attempt == job.last
        if isinstance(before.state, Live) and not isinstance(job.state, Live):
            assert isinstance(event, e.Ended)
        if isinstance(before.state, Final):
            assert isinstance(event, e.ResumeAsked)
        assert 0 <= job.fruitless <= attempts
        assert (job.id, job.context) == (before.id, before.context)
    assert fold(history) == job
