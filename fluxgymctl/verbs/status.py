# SPDX-License-Identifier: Apache-2.0
"""`status`: everything that is known about one job."""

import shlex
import time
from pathlib import Path

import click

from fluxgym.protocol.messages import Annotation, Attempt, Context, FailureKind, Job, Judgement, Kind, Progress, Slow
from fluxgym.protocol.methods import DESCRIBE, JobName
from fluxgymctl.manual import epilog
from fluxgymctl.output import write_facts, write_json
from fluxgymctl.prose import gpu, jobs, words
from fluxgymctl.session import Session, common_options

Facts = list[tuple[str, str]]


@click.command("status", epilog=epilog("status my-lora", "status --json my-lora"))
@click.argument("name")
@common_options
@click.pass_obj
def command(session: Session, name: str) -> None:
    """Shows everything about one job.

    Shows its state and the reason, its progress, its last attempt, and where its files are.
    """
    job = session.call(DESCRIBE, JobName(name=name)).job
    if session.json:
        write_json(job)
    else:
        write_facts(facts(job, now=time.time()))


def facts(job: Job, *, now: float) -> Facts:
    """Labels and values. Absent values are left out, since many dashes would hide the rest."""
    return [(label, value) for label, value in _all(job, now=now) if value != words.ABSENT]


def _all(job: Job, *, now: float) -> Facts:
    runtime = job.runtime
    rows = [
        ("Name", job.context.name),
        ("State", str(runtime.state)),
        ("Why", jobs.why(job)),
        ("Place", words.text(runtime.queue_place)),
    ]
    if runtime.failure is not None and runtime.failure.kind is not FailureKind.OTHER:
        rows.append(("Failure", words.name(runtime.failure.kind)))
    rows.append(("Advice", words.text(jobs.advice(job))))
    if runtime.not_before is not None:
        rows.append(("Not before", words.moment(runtime.not_before, now=now)))
    rows.append(("Submitted", _when(runtime.submitted_at, now=now)))
    rows += _wishes(job.context)
    if runtime.progress is not None:
        if runtime.state in jobs.RUNS:
            rows += _progress(runtime.progress, now=now, moves=not jobs.stuck(job))
        else:
            rows += _reached(runtime.progress)
    rows += [*_watchdog(runtime.watchdog, now=now), *gpu.facts(job)]
    rows.append(("Slow", _slow(runtime.slow, now=now)))
    if job.context.kind is not Kind.PROGRAM:
        rows.append(("Steps lost", str(runtime.steps_lost)))
    if runtime.restarts:
        rows.append(("Restarts", words.ordinal(runtime.restarts, runtime.restarts_allowed)))
    rows.append(("Energy", words.energy(runtime.energy)))
    if runtime.attempt is not None:
        rows += _attempt(runtime.attempt, now=now)
    rows += _places(job)
    return rows + _notes(job.annotation)


def _wishes(context: Context) -> Facts:
    """The settings that are not about the training itself."""
    rows = []
    if context.program:
        rows.append(("Program", shlex.join(context.program)))
    if context.priority is not None:
        rows.append(("Priority", str(context.priority)))
    if context.after:
        rows.append(("After", ", ".join(context.after)))
    if context.kind is not Kind.PROGRAM and (context.gpu_count or context.gpus):
        count = str(context.gpu_count or 1)
        rows.append(("GPUs wanted", f"{count} of {', '.join(context.gpus)}" if context.gpus else count))
    if context.restart is not None:
        rows.append(("Restart", words.name(context.restart)))
    return rows


def _reached(state: Progress) -> Facts:
    """How far the job came. The speed of a job that does not run is not shown."""
    return [
        ("Step", words.share(state.step, state.total_steps)),
        ("Epoch", words.ordinal(state.epoch, state.total_epochs)),
        ("Loss", jobs.loss(state)),
    ]


def _progress(state: Progress, *, now: float, moves: bool) -> Facts:
    speed = [
        ("Speed", words.speed(state.seconds_per_step)),
        ("Time left", words.duration(state.remaining_seconds)),
    ]
    return [
        ("Phase", f"{state.phase} {words.share(state.done, state.total)}" if state.done is not None else state.phase),
        *_reached(state),
        *(speed if moves else []),
        ("Last report", _when(state.updated_at, now=now)),
    ]


def _watchdog(told: Judgement | None, *, now: float) -> Facts:
    if told is None:
        return []
    since = f" since {_when(told.since, now=now)}" if told.since is not None else ""
    why = f": {told.why}" if told.why is not None else ""
    return [("Watchdog", f"{words.name(told.verdict)}{since}{why}")]


def _slow(told: Slow | None, *, now: float) -> str:
    if told is None:
        return words.ABSENT
    return (
        f"since {_when(told.since, now=now)}: {words.speed(told.seconds_per_step)}, usually {words.speed(told.usual)}"
    )


def _attempt(attempt: Attempt, *, now: float) -> Facts:
    return [
        ("Attempt", str(attempt.number)),
        ("Unit", f"{attempt.unit} ({attempt.adapter})"),
        ("Process", words.text(attempt.pid)),
        ("GPUs", ", ".join(attempt.gpus) or "none (it runs on the CPU)"),
        ("Resumed from", words.text(attempt.resumed_from)),
        ("Started", _when(attempt.started_at, now=now)),
        ("Ended", _when(attempt.ended_at, now=now)),
        ("Exit", jobs.exit_words(attempt.exit)),
    ]


def _places(job: Job) -> Facts:
    """Where the job's files are. Their names within its home are fixed."""
    home = Path(job.runtime.home)
    rows = [("Home", str(home)), ("Log", str(home / "training.log"))]
    if job.context.kind is Kind.PROGRAM:
        return [*rows, ("Result", words.text(job.runtime.result))]
    return [*rows, ("Samples", str(home / "sample")), ("LoRA", words.text(job.runtime.result))]


def _notes(annotation: Annotation | None) -> Facts:
    if annotation is None:
        return []
    return [
        ("Group", words.text(annotation.group)),
        ("Tags", ", ".join(annotation.tags) or words.ABSENT),
        ("Best", words.text(annotation.best)),
        ("Note", words.text(annotation.note)),
    ]


def _when(then: float | None, *, now: float) -> str:
    if then is None:
        return words.ABSENT
    return f"{words.moment(then, now=now)} ({words.age(then, now=now)} ago)"
