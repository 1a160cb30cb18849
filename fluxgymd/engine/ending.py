# SPDX-License-Identifier: Apache-2.0
"""From an attempt of which nothing is left to the event that ends it: gathers the facts, lets core/verdict judge."""

import time

from fluxgymd.core import events
from fluxgymd.core.evidence import Ended, NeverStarted, Rebooted
from fluxgymd.core.job import Attempt, Job, Lost, Stopping
from fluxgymd.core.resume import newest
from fluxgymd.core.verdict import Ending, Outcome, judge
from fluxgymd.store import checkpoints, result
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import progress

Over = Ended | NeverStarted | Rebooted


def end_event(
    job: Job, attempt: Attempt, folder: JobFolder, over: Over, *, manager_stays: bool, why_not_started: str | None
) -> events.Ended:
    """The event. Reads the job's files: blocks on the disk."""
    asked = stop_asked(job)
    if isinstance(over, NeverStarted):
        outcome = (
            Outcome("stopped", "It was stopped before its trainer started.")
            if asked
            else Outcome("never_started", why_not_started or "The daemon went away before it was started.")
        )
        return _event(attempt, outcome, "the gate was never opened", over)
    reader = progress.MetricsReader(folder.metrics, attempt.metrics_offset)
    reader.read()
    told = reader.progress
    step = max(attempt.step, told.step or 0) if told else attempt.step
    checkpoint = newest(checkpoints.scan(folder.path, folder.name))
    checkpoint_step = (checkpoint.step or 0) if checkpoint else 0
    record = over.exit if isinstance(over, Ended) else None
    outcome = judge(
        Ending(
            exit=record,
            rebooted=isinstance(over, Rebooted),
            stop_asked=asked,
            manager_stays=manager_stays,
            step=step,
            total_steps=told.total_steps if told else None,
            result_problem=result.problem(folder.result, attempt.final_before),
            checkpoint_advanced=checkpoint_step > job.checkpoint_step,
            fruitless=job.fruitless,
            last_line=progress.last_line(folder.log, attempt.log_offset),
        )
    )
    proof = "its boot is over" if isinstance(over, Rebooted) else "none of its processes is left"
    lost = max(0, step - checkpoint_step) if outcome.kind in ("stopped", "interrupted") else 0
    return _event(attempt, outcome, proof, over, step=step, checkpoint_step=checkpoint_step, steps_lost=lost)


def stop_asked(job: Job) -> bool:
    """Whether the user wants the running attempt to end."""
    return isinstance(job.state, Stopping) or (isinstance(job.state, Lost) and job.state.stop_asked)


def _event(
    attempt: Attempt,
    outcome: Outcome,
    proof: str,
    over: Over,
    *,
    step: int = 0,
    checkpoint_step: int = 0,
    steps_lost: int = 0,
) -> events.Ended:
    return events.Ended(
        at=time.time(),
        attempt=attempt.number,
        outcome=outcome.kind,
        reason=outcome.reason,
        proof=proof,
        exit=over.exit if isinstance(over, Ended) else None,
        step=step,
        checkpoint_step=checkpoint_step,
        steps_lost=steps_lost,
    )
