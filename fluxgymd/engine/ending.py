# SPDX-License-Identifier: Apache-2.0
"""From an attempt of which nothing is left to the event that ends it: gathers the facts, lets core/verdict judge."""

import time

from fluxgym.messages import Context, FailureKind, Kind, RestartPolicy
from fluxgymd.core import events
from fluxgymd.core.evidence import Ended, NeverStarted, Rebooted
from fluxgymd.core.failure import classify
from fluxgymd.core.job import Attempt, Job, acted_on, stop_asked
from fluxgymd.core.records import ExitRecord
from fluxgymd.core.restart import plan
from fluxgymd.core.resume import newest
from fluxgymd.core.verdict import Ending, Outcome, judge
from fluxgymd.engine import resuming
from fluxgymd.store import result
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import progress
from fluxgymd.trainers.attempt_progress import AttemptProgress
from fluxgymd.watchdog.evidence_files import EVIDENCE

Over = Ended | NeverStarted | Rebooted

GONE = "The daemon went away before it was started."


def end_event(
    job: Job,
    attempt: Attempt,
    folder: JobFolder,
    over: Over,
    *,
    manager_stays: bool,
    why_not_started: str | None,
    withheld: str | None = None,
) -> events.Ended:
    """The event. Reads the job's files: blocks on the disk. `why_not_started`: the fault; `withheld`: what else kept
    its gate closed, so that it is started again at once."""
    now = time.time()  # once: a pause is counted from the end that is recorded
    asked = stop_asked(job)
    if isinstance(over, NeverStarted):
        outcome = (
            Outcome("stopped", "It was stopped before it ran.")
            if asked
            else Outcome("never_started", why_not_started or withheld or GONE)
        )
        return events.Ended(
            at=now,
            attempt=attempt.number,
            outcome=outcome.kind,
            reason=outcome.reason,
            proof="the gate was never opened",
            exit=ExitRecord(kind="never-started"),
            again=not asked and why_not_started is None,
        )
    context = job.context
    reader = AttemptProgress(folder, attempt, context.kind)
    reader.read()
    told = reader.progress
    step = max(attempt.step, told.step or 0) if told else attempt.step
    checkpoint = newest(resuming.scan(context, folder))
    checkpoint_step = (checkpoint.step or 0) if checkpoint else 0
    record = over.exit if isinstance(over, Ended) else None
    hang = acted_on(attempt)
    tail = progress.tail(folder.log, attempt.log_offset)
    outcome = judge(
        Ending(
            exit=record,
            rebooted=isinstance(over, Rebooted),
            stop_asked=asked,
            manager_stays=manager_stays,
            step=step,
            total_steps=told.total_steps if told else None,
            hang=hang,
            result_problem=_result_problem(context, folder, attempt),
            last_line=progress.last_line(tail),
        )
    )
    kind = context.kind or Kind.TRAINING
    failure = classify(record, tail, kind=kind) if record is not None and outcome.kind == "failed" else None
    then = plan(
        outcome,
        policy=context.restart or RestartPolicy.ON_INTERRUPTION,
        failure=failure,
        fruitless=job.fruitless,
        advanced=checkpoint_step > job.checkpoint_step,
        now=now,
        hang=hang,
    )
    if outcome.kind == "interrupted" and then.outcome.kind == "failed":
        # From outside and too often, or stuck.
        failure = FailureKind.KILLED if hang is None else FailureKind.STUCK
    reason = then.outcome.reason
    if hang is not None and outcome.kind == "interrupted":
        reason += f" What was seen lies in {(folder.attempt(attempt.number) / EVIDENCE).relative_to(folder.path)}."
    proof = "its boot is over" if isinstance(over, Rebooted) else "none of its processes is left"
    goes_on = then.again or outcome.kind in ("stopped", "interrupted")
    lost = max(0, step - checkpoint_step) if goes_on else 0
    return events.Ended(
        at=now,
        attempt=attempt.number,
        outcome=then.outcome.kind,
        reason=reason,
        proof=proof,
        exit=record,
        step=step,
        checkpoint_step=checkpoint_step,
        steps_lost=lost,
        failure=failure.value if failure is not None else None,
        again=then.again,
        not_before=then.not_before,
    )


def _result_problem(context: Context, folder: JobFolder, attempt: Attempt) -> str | None:
    if context.kind is Kind.PROGRAM:
        return result.program_problem(folder.program_result, attempt.final_before)
    return result.problem(folder.result, attempt.final_before)
