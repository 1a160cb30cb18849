# SPDX-License-Identifier: Apache-2.0
"""A job is the fold of its events: each event in each state, and what holds for all histories."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxgym.protocol.messages import WatchdogMode
from fluxgymd.core.job import (
    BadHistory,
    Failed,
    Final,
    Interrupted,
    Job,
    Live,
    Lost,
    PassingMode,
    Queued,
    Running,
    State,
    Stopped,
    Stopping,
    acted_on,
    apply,
    fold,
    stop_asked,
)
from fluxgymd.core.journal import events as e
from tests.core import histories as h

# The state after each event in each state. "-" means that the event is impossible: the job is then damaged, because
# FluxGym doesn't guess. First come the events of an attempt, then those of the queue and the user's changes.
TABLE = """
                     | submitted reserved spawned placed started stop_asked sight_lost sight_regained completed failed stopped interrupted never_started cancelled resume_asked
nothing              | queued    -        -       -      -       -          -          -              -         -      -       -           -             -         -
queued               | -         starting -       -      -       -          -          -              -         -      -       -           -             stopped   -
starting             | -         -        starting starting running stopping lost      starting       completed failed stopped interrupted queued        -         -
running              | -         -        running running running stopping  lost       running        completed failed stopped interrupted queued        -         -
stopping             | -         -        stopping stopping stopping stopping lost-while-stopping stopping completed failed stopped stopped stopped      -         -
stopping later       | -         -        stopping-later stopping-later stopping-later stopping lost-while-stopping-later stopping-later completed failed stopped stopped stopped - -
lost                 | -         -        lost    lost   lost    lost-while-stopping lost running     completed failed stopped interrupted queued        -         -
lost while stopping  | -         -        lost-while-stopping lost-while-stopping lost-while-stopping lost-while-stopping lost-while-stopping stopping completed failed stopped stopped stopped - -
lost while stopping later | - - lost-while-stopping-later lost-while-stopping-later lost-while-stopping-later lost-while-stopping lost-while-stopping-later stopping-later completed failed stopped stopped stopped - -
completed            | -         -        -       -      -       -          -          -              -         -      -       -           -             -         queued
failed               | -         -        -       -      -       -          -          -              -         -      -       -           -             -         queued
stopped              | -         -        -       -      -       -          -          -              -         -      -       -           -             -         queued
interrupted          | -         starting -       -      -       -          -          -              -         -      -       -           -             stopped   -
held                 | -         -        -       -      -       -          -          -              -         -      -       -           -             stopped   -
interrupted and held | -         -        -       -      -       -          -          -              -         -      -       -           -             stopped   -
"""  # noqa: E501 - a wide table is easier to read

QUEUE = """
                     | stop_later          retried not_retried      held             released    moved            edited           barred disowned imported
nothing              | -                   -       -                -                -           -                -                -      - -
queued               | -                   -       -                held             queued      queued           queued           failed - stopped
starting             | stopping-later      queued  interrupted-held -                -           -                -                -      - -
running              | stopping-later      queued  interrupted-held -                -           -                -                -      - -
stopping             | stopping-later      stopped stopped          -                -           -                -                -      - -
stopping later       | stopping-later      stopped stopped          -                -           -                -                -      - -
lost                 | lost-while-stopping-later queued  interrupted-held -                -           -                -                -      interrupted -
lost while stopping  | lost-while-stopping-later stopped stopped    -                -           -                -                -      interrupted -
lost while stopping later | lost-while-stopping-later stopped stopped -              -           -                -                -      interrupted -
completed            | -                   -       -                -                -           -                completed        -      - -
failed               | -                   -       -                -                -           -                failed           -      - -
stopped              | -                   -       -                -                -           -                stopped          -      - -
interrupted          | -                   -       -                interrupted-held interrupted interrupted      interrupted      failed - -
held                 | -                   -       -                held             queued      held             held             failed - stopped
interrupted and held | -                   -       -                interrupted-held interrupted interrupted-held interrupted-held failed - -
"""  # noqa: E501

WATCHED = """
                     | stuck               stuck_and_left      unsupervised        watchdog_off watchdog_warn
nothing              | -                   -                   -                 - -
queued               | -                   -                   -                 queued queued
starting             | starting            starting            starting          starting starting
running              | running             running             running           running running
stopping             | stopping            stopping            stopping          stopping stopping
stopping later       | stopping-later      stopping-later      stopping-later    stopping-later stopping-later
lost                 | lost                lost                lost              lost lost
lost while stopping  | lost-while-stopping lost-while-stopping lost-while-stopping lost-while-stopping lost-while-stopping
lost while stopping later | lost-while-stopping-later lost-while-stopping-later lost-while-stopping-later lost-while-stopping-later lost-while-stopping-later
completed            | -                   -                   -                 - -
failed               | -                   -                   -                 - -
stopped              | -                   -                   -                 - -
interrupted          | -                   -                   -                 interrupted interrupted
held                 | -                   -                   -                 held held
interrupted and held | -                   -                   -                 interrupted-held interrupted-held
"""  # noqa: E501

NOTED = """
                     | annotated restored
nothing              | - -
queued               | queued queued
starting             | starting starting
running              | running running
stopping             | stopping stopping
stopping later       | stopping-later stopping-later
lost                 | lost lost
lost while stopping  | lost-while-stopping lost-while-stopping
lost while stopping later | lost-while-stopping-later lost-while-stopping-later
completed            | completed completed
failed               | failed failed
stopped              | stopped stopped
interrupted          | interrupted interrupted
held                 | held held
interrupted and held | interrupted-held interrupted-held
"""


def cells() -> list[tuple[str, str, str]]:
    found = []
    for table in (TABLE, QUEUE, WATCHED, NOTED):
        head, *rows = table.strip("\n").splitlines()
        names = head.partition("|")[2].split()
        for row in rows:
            state, _, outcomes = row.partition("|")
            found += [(state.strip(), *cell) for cell in zip(names, outcomes.split(), strict=True)]
    return found


def called(job: Job) -> str:
    match job.state:
        case Lost(stop_asked=True, after_checkpoint=True):
            return "lost-while-stopping-later"
        case Lost(stop_asked=True):
            return "lost-while-stopping"
        case Stopping(after_checkpoint=True):
            return "stopping-later"
        case Queued() if job.held:
            return "held"
        case Interrupted() if job.held:
            return "interrupted-held"
        case state:
            return type(state).__name__.lower()


def folded(way: str) -> Job | None:
    return fold(h.WAYS[way]) if h.WAYS[way] else None


def test_the_table_covers_every_state_and_every_event() -> None:
    assert {type(fold(way).state) for way in h.WAYS.values() if way} == set(get_args(State))
    assert {type(event) for event in h.next_events(1).values()} == set(get_args(e.AnyEvent))
    assert {(state, event) for state, event, _ in cells()} == {
        (state, event) for state in h.WAYS for event in h.next_events(1)
    }


@pytest.mark.parametrize(("state", "event", "outcome"), cells())
def test_every_event_is_applied_or_refused_in_every_state(state: str, event: str, outcome: str) -> None:
    before = folded(state)
    what = h.next_events(before.attempts if before else 0)[event]
    if outcome == "-":
        with pytest.raises(BadHistory):
            apply(before, what)
    else:
        assert called(apply(before, what)) == outcome


@pytest.mark.parametrize(
    "event",
    [
        *("spawned", "placed", "started", "unsupervised", "stop_asked", "sight_lost", "sight_regained"),
        *("stuck", "disowned", *h.OUTCOMES),
    ],
)
def test_an_event_of_another_attempt_is_impossible(event: str) -> None:
    with pytest.raises(BadHistory, match="belongs to attempt 2, but 1 was running"):
        apply(folded("running"), h.next_events(2)[event])


def test_the_fate_of_the_shim_is_known_for_one_attempt_only() -> None:
    alone = fold([*h.WAYS["running"], h.unsupervised()])
    assert alone.last is not None
    assert alone.last.unsupervised
    again = fold([*h.WAYS["running"], h.unsupervised(), h.ended("interrupted"), h.reserved(2)])
    assert again.last is not None
    assert not again.last.unsupervised


def test_a_held_job_is_not_started() -> None:
    with pytest.raises(BadHistory, match="attempt 1 was reserved while the job was on hold"):
        apply(folded("held"), h.reserved())


@pytest.mark.parametrize("number", [0, 1, 3])
def test_attempts_are_counted_without_a_gap(number: int) -> None:
    with pytest.raises(BadHistory, match=f"attempt {number} follows attempt 1"):
        apply(folded("interrupted"), h.reserved(number))


def test_a_watchdog_mode_replaces_that_of_the_job_or_applies_for_a_limited_time() -> None:
    passing = fold([*h.WAYS["running"], h.WATCHDOG_OFF])
    assert passing.context.watchdog is None
    assert passing.passing_mode == PassingMode(mode=WatchdogMode.OFF, until=3615.5)
    lasting = apply(passing, h.WATCHDOG_WARN)
    assert (lasting.context.watchdog, lasting.passing_mode) == (WatchdogMode.WARN, None)


def test_only_an_edit_of_the_watchdog_ends_a_mode_with_a_time_limit() -> None:
    passing = fold([*h.WAYS["queued"], h.WATCHDOG_OFF])
    assert apply(passing, h.EDITED).passing_mode is not None
    acts = e.Edited(at=16.0, context=msgspec.structs.replace(h.CONTEXT, watchdog=WatchdogMode.ACT))
    assert apply(passing, acts).passing_mode is None


def test_a_stop_after_the_next_checkpoint_survives_a_lost_contact() -> None:
    asked = e.StopAsked(at=6.0, attempt=1, after_checkpoint=True, newest_checkpoint="my-lora-000004-state")
    job = fold([*h.WAYS["running"], asked, h.sight_lost(), h.sight_lost(), h.sight_regained()])
    assert job.last is not None
    assert job.state == Stopping(job.last, after_checkpoint=True, newest_checkpoint="my-lora-000004-state")


def test_without_an_event_there_is_no_job() -> None:
    with pytest.raises(BadHistory, match="it has no events"):
        fold([])


def test_an_outcome_of_a_newer_version_is_not_guessed_at() -> None:
    with pytest.raises(BadHistory, match="'exploded', which this version does not know"):
        apply(folded("running"), h.ended("exploded"))


def test_the_submit_is_what_the_job_is() -> None:
    job = fold([h.submitted(name="cat", job_id="a" * 32, priority=3, rank=5.5, at=12.0)])
    assert (job.name, job.id, job.priority, job.rank, job.submitted_at) == ("cat", "a" * 32, 3, 5.5, 12.0)
    assert (job.attempts, job.last, job.steps_lost, job.checkpoint_step, job.fruitless) == (0, None, 0, 0, 0)


def test_an_attempt_keeps_everything_that_was_recorded_about_it() -> None:
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


def hung(*steps: int, acts: bool = True) -> Job:
    """The job in an attempt that hung at the last of these steps. Its earlier attempts hung at the other steps."""
    history: list[e.AnyEvent] = [h.submitted()]
    for number, step in enumerate(steps, start=1):
        history += [h.reserved(number), h.started(number), h.stuck(number, step=step, acts=acts)]
        history += [h.ended("interrupted", number)] if number < len(steps) else []
    return fold(history)


@pytest.mark.parametrize(
    ("steps", "before"),
    [((40,), None), ((40, 40), 40), ((40, 39), 40), ((40, 41), None), ((40, 60, 50), 60), ((0, 0), 0)],
)
def test_a_hang_knows_whether_the_job_advanced_since_the_previous_one(
    steps: tuple[int, ...], before: int | None
) -> None:
    job = hung(*steps)
    assert job.last is not None
    hang = job.last.hang
    assert hang is not None
    assert (hang.step, hang.before, hang.acts) == (steps[-1], before, True)
    assert (hang.rule, hang.why, hang.phase, hang.since) == ("still", "Nothing moved for 600 s.", "training", 3.0)
    assert acted_on(job.last) == hang


def test_a_hang_that_is_left_alone_is_kept_and_never_counts() -> None:
    job = hung(40, 40, acts=False)
    assert job.last is not None
    assert job.last.hang is not None
    assert (job.last.hang.before, job.hung_at, acted_on(job.last)) == (None, None, None)


def test_a_hang_before_the_first_step_is_at_the_start_of_the_attempt() -> None:
    job = fold([h.submitted(), h.reserved(step=16), h.stuck(step=None)])
    assert job.hung_at == 16


def test_a_resume_by_the_user_forgives_a_hang() -> None:
    job = apply(apply(hung(40, 40), h.ended("failed", 2)), h.RESUME_ASKED)
    assert job.hung_at is None


def test_a_requested_stop_stays_requested_when_the_trainer_is_seen() -> None:
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
        ("stopping later", ("GPU-1",)),
        ("lost", ("GPU-1",)),
        ("lost while stopping", ("GPU-1",)),
        ("interrupted", None),
        ("held", None),
        ("interrupted and held", None),
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
    """The job after attempts that ended with these outcomes and with newest checkpoints at these steps. "retried":
    the attempt failed, and the job is retried automatically."""
    history: list[e.AnyEvent] = [h.submitted()]
    for number, (outcome, step) in enumerate(ends, start=1):
        again = outcome in ("interrupted", "retried")
        kind = "failed" if outcome == "retried" else outcome
        history += [h.reserved(number), h.ended(kind, number, checkpoint_step=step, steps_lost=3, again=again)]
    return fold(history)


@pytest.mark.parametrize(
    ("ends", "fruitless"),
    [
        ([("interrupted", 0)], 1),
        ([("interrupted", 10)], 0),
        ([("interrupted", 10), ("interrupted", 10)], 1),
        ([("interrupted", 10), ("interrupted", 9), ("interrupted", 10)], 2),
        ([("interrupted", 10), ("interrupted", 10), ("interrupted", 11)], 0),
        # A failure that is retried counts like an interruption.
        ([("retried", 0), ("interrupted", 0), ("retried", 0)], 3),
        ([("retried", 0), ("retried", 5)], 0),
        # An attempt that never started neither counts nor resets the count.
        ([("interrupted", 0), ("never_started", 0)], 1),
        ([("interrupted", 0), ("never_started", 0), ("interrupted", 0)], 2),
        ([("never_started", 0), ("never_started", 0)], 0),
    ],
)
def test_attempts_without_a_newer_checkpoint_are_counted(ends: list[tuple[str, int]], fruitless: int) -> None:
    assert after_ends(*ends).fruitless == fruitless


def test_failed_starts_are_counted_until_one_succeeds() -> None:
    history: list[e.AnyEvent] = [
        h.submitted(),
        h.reserved(),
        h.ended("never_started"),
        h.reserved(2),
        h.ended("never_started", 2),
    ]
    assert fold(history).start_failures == 2
    assert fold([*history, h.reserved(3), h.started(3)]).start_failures == 0
    assert fold([*history, h.CANCELLED, h.RESUME_ASKED]).start_failures == 0
    # A daemon that died during the start doesn't count as a failed start.
    assert fold([*history, h.reserved(3), h.ended("never_started", 3, again=True)]).start_failures == 0


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


def test_a_cancelled_job_says_that_it_did_not_run() -> None:
    assert fold([h.submitted(), h.CANCELLED]).state == Stopped("It was cancelled before it ran.")
    assert fold([*h.WAYS["interrupted"], h.CANCELLED]).state == Stopped("It was cancelled before it ran again.")


@pytest.mark.parametrize("outcome", ["interrupted", "never_started"])
@pytest.mark.parametrize("way", ["stopping", "stopping later", "lost while stopping"])
def test_an_acknowledged_stop_is_not_lost_when_the_attempt_ends(way: str, outcome: str) -> None:
    """The end is judged in a thread. A stop that is recorded meanwhile precedes the end in the journal."""
    job = fold([*h.WAYS[way], h.ended(outcome, not_before=99.0)])
    assert job.state == Stopped(f"It is {outcome}.")
    assert not job.held
    assert apply(job, h.RESUME_ASKED).not_before == 0.0


def test_a_failure_that_is_retried_waits_and_keeps_its_reason() -> None:
    job = fold([*h.WAYS["running"], h.ended("failed", again=True, not_before=39.0)])
    assert (job.state, job.not_before, job.held) == (Queued("It is failed."), 39.0, False)


def test_a_failure_keeps_its_kind() -> None:
    assert fold([*h.WAYS["running"], h.ended("failed", failure="disk_full")]).state == Failed(
        "It is failed.", "disk_full"
    )
    assert fold(h.WAYS["failed"]).state == Failed("It is failed.", "other")
    assert fold([h.submitted(), h.BARRED]).state == Failed(h.BARRED.reason, "not_resumable")


def test_a_job_whose_policy_needs_a_person_is_held_until_it_is_released() -> None:
    job = fold(h.WAYS["interrupted and held"])
    assert (job.state, job.held) == (Interrupted("It is interrupted."), True)
    assert not apply(job, h.RELEASED).held


def test_a_resume_by_the_user_releases_and_ends_the_pause() -> None:
    job = fold([*h.WAYS["running"], h.ended("failed", not_before=99.0), h.RESUME_ASKED])
    assert (job.held, job.not_before) == (False, 0.0)
    assert not fold([*h.WAYS["held"], h.CANCELLED, h.RESUME_ASKED]).held


def test_a_submit_may_begin_on_hold() -> None:
    submit = h.submitted()
    on_hold = msgspec.structs.replace(submit, context=msgspec.structs.replace(submit.context, held=True))
    assert fold([on_hold]).held


def test_a_move_and_an_edit_change_only_what_they_say() -> None:
    before = fold([h.submitted(priority=1, rank=7.0)])
    moved = apply(before, h.MOVED)
    assert (moved.priority, moved.rank, moved.context.priority) == (2, 0.5, 2)
    edited = apply(moved, h.EDITED)
    assert (edited.context, edited.priority, edited.rank) == (h.EDITED.context, 1, 0.5)
    silent = e.Edited(at=15.0, context=msgspec.structs.replace(moved.context, epochs=3))
    assert apply(moved, silent).priority == 2  # the priority that a move set stays


def test_a_disowned_job_continues_and_its_gpu_is_free() -> None:
    job = fold([*h.WAYS["lost"], h.disowned()])
    assert job.state == Interrupted("The user confirmed that it is no longer running.")
    assert job.lease is None
    assert job.last is not None
    assert (job.last.ended_at, job.last.exit) == (17.0, None)


def test_an_interrupted_job_says_why() -> None:
    assert fold(h.WAYS["interrupted"]).state == Interrupted("It is interrupted.")


steps = st.tuples(
    st.sampled_from(sorted(h.next_events(1))),
    st.integers(min_value=0, max_value=50),
    st.integers(min_value=0, max_value=5),
)


@settings(deadline=None)  # no test depends on timing
@given(st.lists(steps, max_size=40))
def test_invariants_hold_after_any_history(choices: list[tuple[str, int, int]]) -> None:
    job = fold([h.submitted()])
    history: list[e.AnyEvent] = [h.submitted()]
    attempts = lost = best = 0
    for name, checkpoint_step, steps_lost in choices:
        event = h.next_events(job.attempts)[name]
        if isinstance(event, e.Ended):
            event = msgspec.structs.replace(event, checkpoint_step=checkpoint_step, steps_lost=steps_lost)
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
            assert not job.held
        if isinstance(before.state, Live) and not isinstance(job.state, Live):
            assert isinstance(event, (e.Ended, e.Disowned))
        if stop_asked(before) and isinstance(event, e.Ended):
            assert isinstance(job.state, Final)
        if isinstance(before.state, Final):
            assert isinstance(event, e.ResumeAsked) or job.state == before.state
        assert 0 <= job.fruitless <= attempts
        assert job.id == before.id
        assert job.context == before.context or isinstance(event, (e.Edited, e.Moved, e.WatchdogSet))
        assert job.context.priority in (None, job.priority)
    assert fold(history) == job
