# SPDX-License-Identifier: Apache-2.0
"""The event that ends an attempt, decided from the facts that run/ending.py gathers. Pure."""

from dataclasses import dataclass

from fluxgym.protocol.messages import FailureKind, RestartPolicy
from fluxgymd.core.evidence import Exited, Rebooted
from fluxgymd.core.failure import classify
from fluxgymd.core.job import Attempt, Job, acted_on
from fluxgymd.core.journal import events
from fluxgymd.core.journal.records import ExitRecord
from fluxgymd.core.outcome import Ending, Outcome, Steps, judge
from fluxgymd.core.restart import Next, plan

GONE = "The daemon ended before the job was started."


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFacts:
    """What the files of an ended attempt say, with two traits of the trainer that wrote them."""

    counts_steps: bool
    """As in `Ending`."""
    refusal_status: int | None
    """The exit status with which the trainer refuses a job."""
    steps: Steps | None
    """None: unknown."""
    checkpoint_step: int
    """Steps of the newest complete checkpoint; 0 if there is none, or if it is unknown."""
    tail: str
    """The end of the log, with the trainer's last words."""
    last_line: str | None
    """The last meaningful line of `tail`."""
    result_problem: str | None
    """Why the final file doesn't count as the attempt's result; None if it does."""
    log_size: int
    """Bytes of the log."""
    evidence: str
    """The folder with the evidence of a hang, relative to the job's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What the daemon knows about an end apart from evidence and files."""

    asked: bool
    """The user wants the job stopped."""
    manager_stays: bool = False
    """As in `Ending`."""
    start_problem: str | None = None
    """The fault that kept the attempt from starting."""
    withheld: str | None = None
    """A reason that was no fault, so the job is started again at once."""
    energy: float | None = None
    """Watt hours that the GPUs used; None: unknown."""


def not_started(attempt: Attempt, around: Circumstances, *, log_size: int, now: float) -> events.Ended:
    """The end of an attempt whose gate was never opened. `now`: seconds, wall clock."""
    fault = around.start_problem
    if around.asked:
        outcome = Outcome("stopped", "It was stopped before it ran.")
    else:
        outcome = Outcome("never_started", fault or around.withheld or GONE)
    return events.Ended(
        at=now,
        attempt=attempt.number,
        outcome=outcome.kind,
        reason=outcome.reason,
        proof="the gate was never opened",
        exit=ExitRecord(kind="never-started"),
        again=not around.asked and fault is None,
        log_size=log_size,
    )


def ended(
    job: Job,
    attempt: Attempt,
    over: Exited | Rebooted,
    found: FileFacts,
    around: Circumstances,
    *,
    now: float,
) -> events.Ended:
    """The end of an attempt that was started. `now`: seconds, wall clock, from which a pause before the next attempt
    counts."""
    record = over.exit if isinstance(over, Exited) else None
    rebooted = isinstance(over, Rebooted)
    step = max(attempt.step, found.steps.done if found.steps is not None else 0)
    outcome = judge(
        Ending(
            exit=record,
            rebooted=rebooted,
            unsupervised=attempt.unsupervised,
            stop_asked=around.asked,
            manager_stays=around.manager_stays,
            step=step,
            steps=found.steps,
            counts_steps=found.counts_steps,
            hang=acted_on(attempt),
            result_problem=found.result_problem,
            last_line=found.last_line,
        )
    )
    failure = None
    if record is not None and outcome.kind == "failed":
        failure = classify(record, found.tail, refusal_status=found.refusal_status)
    then = _next(job, attempt, outcome, failure, checkpoint_step=found.checkpoint_step, now=now)
    if outcome.kind == "interrupted" and then.outcome.kind == "failed":
        # It was interrupted too often without progress, or hung.
        failure = FailureKind.KILLED if acted_on(attempt) is None else FailureKind.STUCK
    goes_on = then.again or outcome.kind in ("stopped", "interrupted")
    return events.Ended(
        at=now,
        attempt=attempt.number,
        outcome=then.outcome.kind,
        reason=_reason(attempt, outcome, then, found.evidence),
        proof="its boot has ended" if rebooted else "none of its processes is left",
        exit=record,
        step=step,
        checkpoint_step=found.checkpoint_step,
        steps_lost=max(0, step - found.checkpoint_step) if goes_on else 0,
        failure=failure.value if failure is not None else None,
        again=then.again,
        not_before=then.not_before,
        log_size=found.log_size,
        energy=around.energy,
    )


def _next(
    job: Job, attempt: Attempt, outcome: Outcome, failure: FailureKind | None, *, checkpoint_step: int, now: float
) -> Next:
    return plan(
        outcome,
        policy=job.context.restart or RestartPolicy.ON_INTERRUPTION,
        failure=failure,
        fruitless=job.fruitless,
        advanced=checkpoint_step > job.checkpoint_step,
        now=now,
        hang=acted_on(attempt),
    )


def _reason(attempt: Attempt, outcome: Outcome, then: Next, evidence: str) -> str:
    if acted_on(attempt) is not None and outcome.kind == "interrupted":
        return f"{then.outcome.reason} The evidence is in {evidence}."
    return then.outcome.reason
