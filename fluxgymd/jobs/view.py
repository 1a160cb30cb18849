# SPDX-License-Identifier: Apache-2.0
"""What clients and people see of a job: functions that make messages from what the registry holds."""

import msgspec

from fluxgym.protocol import messages as m
from fluxgymd.core import energy, lost, restart
from fluxgymd.core import job as core
from fluxgymd.core.failure import advice
from fluxgymd.core.journal.records import ExitRecord
from fluxgymd.core.measures import pace
from fluxgymd.core.wishes import Wish, why_not
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.judgement import judgement, readings
from fluxgymd.jobs.loading import damage_sentence
from fluxgymd.jobs.states import wire_state
from fluxgymd.store.atomic import write_file
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import ui_state
from fluxgymd.trainers.choice import traits

_EXIT_KINDS = {
    "exited": m.ExitKind.EXITED,
    "signaled": m.ExitKind.SIGNALED,
    "never-started": m.ExitKind.NEVER_STARTED,
    "exec-failed": m.ExitKind.EXEC_FAILED,
}


def show(entry: Entry) -> m.Job:
    """The job as a message."""
    job = entry.job
    if job is None:
        return _unreadable(entry)
    reason = damage_sentence(entry.folder, entry.damage) if entry.damage is not None else _reason(entry, job.state)
    live = isinstance(job.state, core.Live)
    restarts = restart.restarts(job) if entry.damage is None else None
    context = job.context
    if job.name != entry.name:  # a copied folder; the verbs know the job by the folder's name
        context = msgspec.structs.replace(context, name=entry.name)
    return m.Job(
        context=context,
        runtime=m.Runtime(
            id=job.id,
            state=m.State.STOPPING if entry.stop_unrecorded is not None else entry.state,
            waiting_for=entry.now.waiting_for if isinstance(job.state, core.Waiting) else None,
            reason=reason,
            failure=_failure(job) if entry.damage is None else None,
            advice=lost_advice(entry, job) if entry.damage is None else None,
            not_before=job.not_before if isinstance(job.state, core.Waiting) and job.not_before else None,
            queue_place=entry.now.queue_place if isinstance(job.state, core.Waiting) else None,
            submitted_at=job.submitted_at,
            home=str(entry.folder.path),
            attempt=_attempt(entry.folder, job.last) if job.last else None,
            progress=entry.now.progress if live or job.last else None,
            steps_lost=job.steps_lost,
            result=str(traits(job.context).result_file(entry.folder))
            if isinstance(job.state, core.Completed)
            else None,
            watchdog=judgement(entry),
            gpus=readings(entry),
            restarts=restarts.done if restarts is not None else None,
            restarts_allowed=restarts.allowed if restarts is not None else None,
            energy=energy.of_job(job, entry.now.meter),
            slow=_slow(entry.now.slow) if live and entry.now.slow is not None else None,
            can_save=_can(entry, job, Wish.SAVE),
            can_sample=_can(entry, job, Wish.SAMPLE),
        ),
        annotation=job.annotation,
    )


def _can(entry: Entry, job: core.Job, wish: Wish) -> bool | None:
    """Whether the trainer can take the request now; None if no attempt is running, or if nothing is known about
    it."""
    if not isinstance(job.state, core.Live) or entry.damage is not None:
        return None
    phase = entry.now.progress.phase if entry.now.progress is not None else None
    return why_not(job, wish, understood=entry.now.handled, phase=phase) is None


def write_settings(folder: JobFolder, job: core.Job | None) -> None:
    """Rewrites ui_state.json. Blocks on the disk."""
    if job is not None:
        write_file(folder.settings, ui_state.render(job.context, wire_state(job.state), job.id, job.submitted_at))


def _reason(entry: Entry, state: core.State) -> str | None:
    if entry.stop_unrecorded is not None:
        return (
            f"It is being stopped, but the disk refused the record: {entry.stop_unrecorded.rstrip('.')}. If fluxgymd "
            "restarts first, stop the job again."
        )
    if isinstance(state, core.Live) and not isinstance(state, core.Lost) and entry.now.faults.sentence is not None:
        return entry.now.faults.sentence
    match state:
        case core.Interrupted() | core.Stopped() | core.Completed() | core.Failed():
            return state.reason
        case core.Lost():
            return f"Lost contact with the job: {state.why}. Its GPU stays reserved."
        case core.Starting() | core.Running() | core.Stopping() if state.attempt.unsupervised:
            return "Its supervising process is gone, so its exit status will not be known."
        case core.Queued():
            return entry.now.start_problem or entry.now.faults.sentence or entry.now.waiting_detail or state.reason
        case _:
            return None


def lost_advice(entry: Entry, job: core.Job) -> str | None:
    """What its owner can do if the job is lost; None if it is not."""
    if not isinstance(job.state, core.Lost):
        return None
    return lost.advice(job.name, entry.now.reach, stop_asked=job.state.stop_asked)


def _failure(job: core.Job) -> m.Failure | None:
    if not isinstance(job.state, core.Failed):
        return None
    kind = m.FailureKind(job.state.failure)
    if kind is m.FailureKind.UNKNOWN:
        kind = m.FailureKind.OTHER  # from a newer version
    return m.Failure(kind=kind, advice=advice(kind, name=job.name, log_is_empty=_log_is_empty(job)))


def _log_is_empty(job: core.Job) -> bool:
    return job.last is not None and job.last.log_size == 0


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


def _slow(told: pace.Slow) -> m.Slow:
    return m.Slow(since=told.since, seconds_per_step=told.seconds_per_step, usual=told.usual)


def _exit(record: ExitRecord | None) -> m.Exit:
    if record is None:
        return m.Exit(kind=m.ExitKind.UNKNOWN, term_seen=False)
    kind = _EXIT_KINDS.get(record.kind, m.ExitKind.UNKNOWN)
    return m.Exit(
        kind=kind,
        code=record.code,
        signal=record.signal,
        term_seen=record.term_seen,
        endings_seen=list(record.endings_seen) or None,
    )


def forgotten(folder: JobFolder) -> m.Job:
    """A job whose folder was deleted before the daemon started, and whose processes are being stopped."""
    return m.Job(
        context=m.Context(name=folder.name),
        runtime=m.Runtime(
            id="",
            state=m.State.STOPPING,
            reason="Its folder was deleted; its remaining processes are being stopped.",
            submitted_at=0.0,
            home=str(folder.path),
            steps_lost=0,
        ),
    )


def _unreadable(entry: Entry) -> m.Job:
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
