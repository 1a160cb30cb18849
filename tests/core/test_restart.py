# SPDX-License-Identifier: Apache-2.0
"""What happens automatically after an attempt: the policy decides, the number of restarts is limited, the pauses
grow, and the job must advance."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxgym.protocol.messages import FailureKind, RestartPolicy
from fluxgymd.core.job import Hang, Job, fold
from fluxgymd.core.outcome import Outcome
from fluxgymd.core.restart import FRUITLESS_LIMIT, PAUSES, POINTLESS, Next, Restarts, plan, restarts
from tests.core import histories as h

NOW = 1000.0
FRUITLESS = fold([*h.WAYS["running"], h.ended("interrupted"), h.reserved(2), h.ended("interrupted", 2)])
INTERRUPTED = Outcome("interrupted", "The machine went down while it ran.")
FAILED = Outcome("failed", "It exited with status 1.")
STOPPED = Outcome("stopped", "It was stopped by the user at step 4.")
COMPLETED = Outcome("completed", "Finished successfully.")


def planned(outcome: Outcome, **facts: Any) -> Next:
    usual: dict[str, Any] = {
        "policy": RestartPolicy.ON_INTERRUPTION,
        "failure": FailureKind.OTHER if outcome is FAILED else None,
        "fruitless": 0,
        "advanced": False,
        "now": NOW,
    }
    return plan(outcome, **usual | facts)


@pytest.mark.parametrize(
    ("policy", "outcome", "again"),
    [
        (RestartPolicy.NEVER, INTERRUPTED, False),
        (RestartPolicy.NEVER, FAILED, False),
        (RestartPolicy.ON_INTERRUPTION, INTERRUPTED, True),
        (RestartPolicy.ON_INTERRUPTION, FAILED, False),
        (RestartPolicy.ON_FAILURE, INTERRUPTED, True),
        (RestartPolicy.ON_FAILURE, FAILED, True),
        *[(policy, outcome, False) for policy in RestartPolicy for outcome in (STOPPED, COMPLETED)],
    ],
)
def test_the_outcomes_that_are_retried(policy: RestartPolicy, outcome: Outcome, *, again: bool) -> None:
    told = planned(outcome, policy=policy)
    assert (told.outcome, told.again) == (outcome, again)


@pytest.mark.parametrize("failure", list(FailureKind))
def test_a_failure_that_would_recur_is_not_retried(failure: FailureKind) -> None:
    told = planned(FAILED, policy=RestartPolicy.ON_FAILURE, failure=failure)
    assert told == (Next(FAILED) if failure in POINTLESS else Next(FAILED, again=True, not_before=NOW + 30))


def test_a_failure_that_may_pass_is_retried() -> None:
    assert not POINTLESS & {
        FailureKind.GPU_OUT_OF_MEMORY,
        FailureKind.HOST_OUT_OF_MEMORY,
        FailureKind.KILLED,
        FailureKind.CRASHED,
        FailureKind.OTHER,
    }


@pytest.mark.parametrize(("fruitless", "pause"), [(0, 0), (1, 30), (2, 120), (3, 300)])
def test_an_interrupted_job_is_resumed_at_once_and_then_after_growing_pauses(fruitless: int, pause: float) -> None:
    told = planned(INTERRUPTED, fruitless=fruitless)
    assert told == Next(INTERRUPTED, again=True, not_before=NOW + pause if pause else 0.0)


@pytest.mark.parametrize(("fruitless", "pause"), [(0, 30), (1, 120), (2, 300), (3, 900)])
def test_a_failure_is_retried_after_growing_pauses(fruitless: int, pause: float) -> None:
    told = planned(FAILED, policy=RestartPolicy.ON_FAILURE, fruitless=fruitless)
    assert told == Next(FAILED, again=True, not_before=NOW + pause)


@pytest.mark.parametrize("outcome", [INTERRUPTED, FAILED])
def test_after_too_many_in_a_row_a_person_must_look(outcome: Outcome) -> None:
    told = planned(outcome, policy=RestartPolicy.ON_FAILURE, fruitless=FRUITLESS_LIMIT - 1)
    reason = f"{outcome.reason} It was tried 5 times without a new checkpoint and will not be retried."
    assert told == Next(Outcome("failed", reason))


@pytest.mark.parametrize("outcome", [INTERRUPTED, FAILED])
def test_a_newer_checkpoint_forgives_them_all(outcome: Outcome) -> None:
    told = planned(outcome, policy=RestartPolicy.ON_FAILURE, fruitless=100, advanced=True)
    assert told == Next(outcome, again=True)


HANG = Hang(at=9.0, rule="still", why="Nothing moved.", since=3.0, evidence=(), phase="training", step=40, acts=True)
STUCK = Outcome("interrupted", "It hung in the phase training at step 40. Nothing moved.")


def test_a_hang_is_resumed_and_bounded_as_other_interruptions_are() -> None:
    assert planned(STUCK, hang=HANG) == Next(STUCK, again=True)
    assert planned(STUCK, hang=HANG, fruitless=1) == Next(STUCK, again=True, not_before=NOW + 30)
    told = planned(STUCK, hang=HANG, fruitless=FRUITLESS_LIMIT - 1)
    assert (told.outcome.kind, told.again) == ("failed", False)


@pytest.mark.parametrize(
    ("before", "says"),
    [
        (40, "It hung twice at step 40, so it will not be retried."),
        (0, "It hung twice, so it will not be retried."),
        (44, "It had already hung at step 44 and got no further, so it will not be retried."),
    ],
)
@pytest.mark.parametrize("advanced", [False, True])
def test_a_second_hang_at_the_same_step_stops_it(before: int, says: str, *, advanced: bool) -> None:
    hang = msgspec.structs.replace(HANG, before=before, step=min(before, HANG.step))
    told = planned(STUCK, hang=hang, advanced=advanced)
    assert told == Next(Outcome("failed", f"{STUCK.reason} {says}"))


def test_a_hang_of_a_job_that_is_never_retried_is_a_failure() -> None:
    assert planned(STUCK, hang=HANG, policy=RestartPolicy.NEVER) == Next(Outcome("failed", STUCK.reason))


@pytest.mark.parametrize("outcome", [STOPPED, COMPLETED])
def test_a_hang_changes_nothing_about_a_stopped_or_complete_job(outcome: Outcome) -> None:
    assert planned(outcome, hang=msgspec.structs.replace(HANG, before=40)) == Next(outcome)


@given(
    outcome=st.sampled_from([INTERRUPTED, FAILED, STOPPED, COMPLETED]),
    policy=st.sampled_from(RestartPolicy),
    failure=st.sampled_from(FailureKind),
    fruitless=st.integers(0, 1000),
    advanced=st.booleans(),
    now=st.floats(0, 4e9),
)
def test_retries_are_bounded_and_no_pause_exceeds_the_longest(outcome: Outcome, now: float, **facts: Any) -> None:
    told = planned(outcome, now=now, **facts)
    assert told.not_before == 0.0 or 0 < told.not_before - now <= max(PAUSES) + 1e-6
    assert not told.again or told.outcome == outcome
    if not facts["advanced"] and facts["fruitless"] >= FRUITLESS_LIMIT - 1:
        assert not told.again


def of(job: Job, policy: RestartPolicy | None) -> Restarts | None:
    return restarts(msgspec.structs.replace(job, context=msgspec.structs.replace(job.context, restart=policy)))


@pytest.mark.parametrize(
    ("job", "policy", "counted"),
    [
        (fold(h.WAYS["queued"]), None, Restarts(done=0, allowed=FRUITLESS_LIMIT - 1)),
        (FRUITLESS, None, Restarts(done=2, allowed=FRUITLESS_LIMIT - 1)),
        (FRUITLESS, RestartPolicy.ON_FAILURE, Restarts(done=2, allowed=FRUITLESS_LIMIT - 1)),
        (FRUITLESS, RestartPolicy.NEVER, Restarts(done=0, allowed=0)),
        (fold([*h.WAYS["running"], h.ended("interrupted", checkpoint_step=8)]), None, Restarts(done=0, allowed=4)),
        (fold(h.WAYS["failed"]), None, None),
        (fold(h.WAYS["completed"]), None, None),
    ],
)
def test_the_restarts_done_and_allowed(job: Job, policy: RestartPolicy | None, counted: Restarts | None) -> None:
    assert of(job, policy) == counted


def test_as_many_restarts_as_are_allowed_come_before_the_job_fails() -> None:
    allowed = of(FRUITLESS, None)
    assert allowed is not None
    retried = [planned(INTERRUPTED, fruitless=fruitless).again for fruitless in range(allowed.allowed + 1)]
    assert retried == [True] * allowed.allowed + [False]
