# SPDX-License-Identifier: Apache-2.0
"""Makes the event that ends an attempt of which nothing is left: gathers the facts and lets core/verdict.py judge.

The attempt is proved to be over (`Over`) before anything is read here, and its exit is what the shim recorded, or
unknown. What the job itself wrote only adds to that: a file that makes no sense counts as unknown, and the end is
recorded without it. Progress that is only shown to people is not among the facts; `Steps` is (core/verdict.py).
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from fluxgym.messages import Context, FailureKind, RestartPolicy
from fluxgymd.core import events
from fluxgymd.core.evidence import Ended, NeverStarted, Over, Rebooted
from fluxgymd.core.failure import classify
from fluxgymd.core.job import Attempt, Job, acted_on
from fluxgymd.core.records import ExitRecord
from fluxgymd.core.restart import plan
from fluxgymd.core.resume import newest
from fluxgymd.core.verdict import Ending, Outcome, Steps, judge
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.port import Trainer
from fluxgymd.trainers.progress import metrics
from fluxgymd.watchdog.evidence_files import EVIDENCE

log = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")

GONE = "The daemon went away before it was started."


def end_event(
    trainer: Trainer,
    job: Job,
    attempt: Attempt,
    folder: JobFolder,
    over: Over,
    *,
    asked: bool,
    manager_stays: bool,
    why_not_started: str | None,
    withheld: str | None = None,
) -> events.Ended:
    """The event that ends the attempt. Blocks on the disk. `asked`: the user wants it stopped; `why_not_started`: the
    fault that kept it from starting; `withheld`: a reason that was no fault, so the job is started again at once."""
    now = time.time()  # read once: a pause counts from the end that is recorded
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
            log_size=metrics.size(folder.log),
        )
    context = job.context
    steps = _gathered(folder, "its steps", lambda: _steps(trainer, folder, attempt), unknown=None)
    checkpoint_step = _gathered(
        folder, "its checkpoints", lambda: _checkpoint_step(trainer, context, folder), unknown=0
    )
    step = max(attempt.step, steps.done if steps is not None else 0)
    record = over.exit if isinstance(over, Ended) else None
    hang = acted_on(attempt)
    tail = _gathered(folder, "its log", lambda: metrics.tail(folder.log, attempt.log_offset), unknown="")
    if record is not None and record.last_words:
        tail = f"{tail}\n{record.last_words}".replace("\r", "\n")
    problem = _gathered(
        folder,
        "its result",
        lambda: trainer.result_problem(folder, attempt.final_before),
        unknown="its result cannot be examined",
    )
    outcome = judge(
        Ending(
            exit=record,
            rebooted=isinstance(over, Rebooted),
            unsupervised=attempt.unsupervised,
            stop_asked=asked,
            manager_stays=manager_stays,
            step=step,
            steps=steps,
            counts_steps=trainer.traits.makes_checkpoints,
            hang=hang,
            result_problem=problem,
            last_line=metrics.last_line(tail),
        )
    )
    failure = None
    if record is not None and outcome.kind == "failed":
        failure = classify(record, tail, refusal_status=trainer.traits.refusal_status)
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
        # It was interrupted too often without progress, or hung.
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
        log_size=metrics.size(folder.log),
    )


def _gathered(folder: JobFolder, what: str, read: Callable[[], T], *, unknown: U) -> T | U:
    """What `read` returns, or `unknown` if it raises. An OSError is not caught: the disk failed, and the caller tries
    again. Any other exception is a bug in reading the job's files, and would come back at every try."""
    try:
        return read()
    except OSError:
        raise
    except Exception:
        log.exception("%s: %s could not be read; its end is recorded without it", folder.name, what)
        return unknown


def _steps(trainer: Trainer, folder: JobFolder, attempt: Attempt) -> Steps | None:
    reader = trainer.progress(folder, attempt)
    reader.read()
    return reader.steps


def _checkpoint_step(trainer: Trainer, context: Context, folder: JobFolder) -> int:
    checkpoint = newest(trainer.checkpoints(context, folder))
    return (checkpoint.step or 0) if checkpoint is not None else 0
