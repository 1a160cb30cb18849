# SPDX-License-Identifier: Apache-2.0
"""What clients and people are shown of a job: functions from what the book holds to messages."""

from typing import TYPE_CHECKING, assert_never

from fluxgym import messages as m
from fluxgymd.core import job as core
from fluxgymd.core.failure import advice
from fluxgymd.core.records import ExitRecord
from fluxgymd.engine.judgement import judgement, readings
from fluxgymd.store.atomic import write_file
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import ui_state

if TYPE_CHECKING:
    from fluxgymd.engine.book import Entry

_EXIT_KINDS = {
    "exited": m.ExitKind.EXITED,
    "signaled": m.ExitKind.SIGNALED,
    "never-started": m.ExitKind.NEVER_STARTED,
    "exec-failed": m.ExitKind.EXEC_FAILED,
}


def show(entry: "Entry") -> m.Job:
    """The job on the wire."""
    job = entry.job
    if job is None:
        return _unreadable(entry)
    reason = damage_sentence(entry.folder, entry.damage) if entry.damage is not None else _reason(entry, job.state)
    live = isinstance(job.state, core.Live)
    return m.Job(
        context=job.context,
        runtime=m.Runtime(
            id=job.id,
            state=entry.state,
            waiting_for=entry.waiting_for if isinstance(job.state, core.Waiting) else None,
            reason=reason,
            failure=_failure(job) if entry.damage is None else None,
            not_before=job.not_before if isinstance(job.state, core.Waiting) and job.not_before else None,
            queue_place=entry.queue_place if isinstance(job.state, core.Waiting) else None,
            submitted_at=job.submitted_at,
            home=str(entry.folder.path),
            attempt=_attempt(entry.folder, job.last) if job.last else None,
            progress=entry.progress if live or job.last else None,
            steps_lost=job.steps_lost,
            result=_result(entry.folder, job) if isinstance(job.state, core.Completed) else None,
            watchdog=judgement(entry),
            gpus=readings(entry),
        ),
    )


def wire_state(state: core.State) -> m.State:
    match state:
        case core.Queued():
            return m.State.QUEUED
        case core.Interrupted():
            return m.State.INTERRUPTED
        case core.Starting():
            return m.State.STARTING
        case core.Running():
            return m.State.RUNNING
        case core.Stopping():
            return m.State.STOPPING
        case core.Lost():
            return m.State.LOST
        case core.Stopped():
            return m.State.STOPPED
        case core.Completed():
            return m.State.COMPLETED
        case core.Failed():
            return m.State.FAILED
        case _:
            assert_never(state)


def damage_sentence(folder: JobFolder, damage: str) -> str:
    """What is wrong with a damaged job, and how to repair it."""
    return (
        f"The journal of {folder.name} is damaged: {damage}. Nothing is written to it; "
        f"repair or restore {folder.journal}, or move the folder {folder.path} away, then restart fluxgymd."
    )


def write_settings(folder: JobFolder, job: core.Job | None) -> None:
    """Rewrites ui_state.json. Blocks on the disk."""
    if job is not None:
        write_file(folder.settings, ui_state.render(job.context, wire_state(job.state), job.id, job.submitted_at))


def _reason(entry: "Entry", state: core.State) -> str | None:
    match state:
        case core.Interrupted() | core.Stopped() | core.Completed() | core.Failed():
            return state.reason
        case core.Lost():
            return f"Sight of it was lost: {state.why}. Its GPU stays taken."
        case core.Queued():
            return entry.start_problem or entry.waiting_detail or state.reason
        case _:
            return None


def _result(folder: JobFolder, job: core.Job) -> str:
    return str(folder.program_result if job.context.kind is m.Kind.PROGRAM else folder.result)


def _failure(job: core.Job) -> m.Failure | None:
    if not isinstance(job.state, core.Failed):
        return None
    kind = m.FailureKind(job.state.failure)
    if kind is m.FailureKind.UNKNOWN:
        kind = m.FailureKind.OTHER  # of a newer version
    return m.Failure(kind=kind, advice=advice(kind, name=job.name))


def _attempt(folder: JobFolder, attempt: core.Attempt) -> m.Attempt:
    return m.Attempt(
        number=attempt.number,
        adapter=attempt.adapter,
        unit=attempt.unit,
        pid=attempt.trainer.pid if attempt.trainer and attempt.ended_at is None else None,
        gpus=list(attempt.gpus),
        resumed_from=str(folder.path / attempt.resumed_from) if attempt.resumed_from else None,
        started_at=attempt.reserved_at,
        ended_at=attempt.ended_at,
        exit=_exit(attempt.exit) if attempt.ended_at is not None else None,
    )


def _exit(record: ExitRecord | None) -> m.Exit:
    if record is None:
        return m.Exit(kind=m.ExitKind.UNKNOWN, term_seen=False)
    kind = _EXIT_KINDS.get(record.kind, m.ExitKind.UNKNOWN)
    return m.Exit(kind=kind, code=record.code, signal=record.signal, term_seen=record.term_seen)


def _unreadable(entry: "Entry") -> m.Job:
    """A job of which not even the submit can be read: only its folder is known."""
    return m.Job(
        context=m.Context(name=entry.name),
        runtime=m.Runtime(
            id="",
            state=m.State.DAMAGED,
            reason=damage_sentence(entry.folder, entry.damage or "it is empty"),
            submitted_at=0.0,
            home=str(entry.folder.path),
            steps_lost=0,
        ),
    )
