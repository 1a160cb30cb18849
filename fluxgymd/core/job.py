# SPDX-License-Identifier: Apache-2.0
"""The state of a job, which is the fold of its events. This is the only place that turns events into states.

An event that can't follow the ones before it means that the journal isn't what FluxGym wrote. Then `apply` raises
BadHistory, and the job counts as damaged; its state is not guessed (promise 8).
"""

from collections.abc import Callable, Iterable
from typing import assert_never

import msgspec
from msgspec.structs import replace

from fluxgym.protocol.messages import Annotation, Context, Kind, WatchdogMode
from fluxgymd.core.journal import events as e
from fluxgymd.core.journal.records import ExitRecord, Place, Placement, Process

# Structs and not dataclasses: `replace` takes a third of the time of a start with thousands of jobs, and
# jobs/packing has to encode and decode them.


class BadHistory(Exception):
    """The events contradict each other. The text is a clause that says where."""


class Hang(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A hang that the watchdog found, as of its event."""

    at: float
    rule: str
    why: str
    since: float
    evidence: tuple[str, ...]
    phase: str | None
    step: int
    """Steps done, over all attempts."""
    acts: bool
    before: int | None = None
    """The step of the previous hang that was acted on, if the job hasn't advanced beyond it; else None."""


class PassingMode(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A mode of the watchdog that applies for a limited time."""

    mode: WatchdogMode
    until: float
    """When the mode in the job's settings applies again (wall clock)."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A start of the job. Fields are None until the attempt gets that far."""

    number: int
    adapter: str
    unit: str
    mark: str
    place: Place
    gpus: tuple[str, ...]
    log_offset: int
    metrics_offset: int
    log_inode: int | None
    metrics_inode: int | None
    resumed_from: str | None
    step: int
    final_before: e.FileStamp | None
    reserved_at: float
    temporary: str | None = None
    shim: Process | None = None
    placement: Placement | None = None
    trainer: Process | None = None
    unsupervised: bool = False
    """The shim ended before the trainer did."""
    hang: Hang | None = None
    ended_at: float | None = None
    exit: ExitRecord | None = None
    log_size: int | None = None


class Queued(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The job waits for its turn."""

    reason: str | None = None
    """How the previous attempt failed, if this is an automatic retry."""


class Interrupted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The job ended through no fault of its own and waits for its turn again."""

    reason: str


class Starting(msgspec.Struct, frozen=True, gc=False, tag=True):
    attempt: Attempt


class Running(msgspec.Struct, frozen=True, gc=False, tag=True):
    attempt: Attempt


class Stopping(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The user asked to stop the job; something of it may still run. The fields are those of events.StopAsked."""

    attempt: Attempt
    after_checkpoint: bool = False
    newest_checkpoint: str | None = None


class Lost(msgspec.Struct, frozen=True, gc=False, tag=True):
    attempt: Attempt
    why: str
    stop_asked: bool
    after_checkpoint: bool = False
    newest_checkpoint: str | None = None


class Stopped(msgspec.Struct, frozen=True, gc=False, tag=True):
    reason: str


class Completed(msgspec.Struct, frozen=True, gc=False, tag=True):
    reason: str


class Failed(msgspec.Struct, frozen=True, gc=False, tag=True):
    reason: str
    failure: str = "other"


Waiting = Queued | Interrupted
Live = Starting | Running | Stopping | Lost
"""States in which an attempt exists and its lease is held."""
Final = Stopped | Completed | Failed
State = Waiting | Live | Final


class Job(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    id: str
    context: Context
    submitted_at: float
    number: int = 0
    """The number of its submit. 0: from an older version; then the time of the submit gives the order."""
    priority: int
    rank: float
    state: State
    copied: e.Copied | None = None
    """The pictures that were copied at the submit; None: not known."""
    attempts: int = 0
    last: Attempt | None = None
    steps_lost: int = 0
    checkpoint_step: int = 0
    """Steps of the newest complete checkpoint, as of the last end of an attempt."""
    fruitless: int = 0
    """Consecutive attempts that were retried automatically and brought no newer checkpoint."""
    hung_at: int | None = None
    """The step of the last hang that was acted on, since the user last queued the job."""
    start_failures: int = 0
    """Consecutive attempts that were never started."""
    held: bool = False
    not_before: float = 0.0
    """The earliest time of the next start (wall clock)."""
    annotation: Annotation | None = None
    passing_mode: PassingMode | None = None
    """The watchdog mode that the user last set for a limited time, which may have ended."""
    energy: float | None = None
    """Watt hours of the attempts that have ended; None: known for none of them."""

    @property
    def name(self) -> str:
        return self.context.name

    @property
    def lease(self) -> tuple[str, ...] | None:
        """The GPUs that the job holds (empty: the CPU slot); None if it holds nothing."""
        return self.state.attempt.gpus if isinstance(self.state, Live) else None


def fold(history: Iterable[e.AnyEvent]) -> Job:
    """The job after all these events. BadHistory if there are no events, or if they contradict each other."""
    job: Job | None = None
    for event in history:
        job = apply(job, event)
    if job is None:
        raise BadHistory("it has no events")
    return job


def apply(job: Job | None, event: e.AnyEvent) -> Job:
    """The job after one more event. BadHistory if the event can't follow."""
    if isinstance(event, e.Submitted):
        if job is not None:
            raise BadHistory("it was submitted twice")
        if event.context.kind is Kind.UNKNOWN:
            # A newer version wrote it. Running it as a wrong kind would be worse than not running it.
            raise BadHistory("its kind is unknown to this version")
        if event.context.program is not None and event.context.kind is not Kind.PROGRAM:
            raise BadHistory("it has a program, but is not of the kind program")
        return Job(
            id=event.id,
            context=event.context,
            submitted_at=event.at,
            number=event.number,
            priority=event.priority,
            rank=event.rank,
            held=bool(event.context.held),
            copied=event.copied,
            checkpoint_step=event.step,
            state=Queued(),
        )
    if job is None:
        raise BadHistory(f"it begins with {_name(event)}, not with submitted")
    match event:
        case e.Imported():
            return _import(job, event)
        case e.Reserved():
            return _reserve(job, event)
        case e.Spawned():
            return _refine(job, event, lambda attempt: replace(attempt, shim=event.shim))
        case e.Placed():
            return _refine(job, event, lambda attempt: replace(attempt, placement=event.placement))
        case e.Started():
            job = _refine(job, event, lambda attempt: replace(attempt, trainer=event.trainer))
            # A job that was stopped or lost before its trainer was seen keeps that state.
            state = Running(job.state.attempt) if isinstance(job.state, Starting) else job.state
            return replace(job, state=state, start_failures=0)
        case e.Unsupervised():
            return _refine(job, event, lambda attempt: replace(attempt, unsupervised=True))
        case e.HangFound():
            return _hang(job, event)
        case e.StopAsked():
            attempt = _live(job, event, event.attempt)
            if isinstance(job.state, Lost):
                return replace(job, state=_lose(Stopping(attempt, *_patience(event)), job.state.why))
            return replace(job, state=Stopping(attempt, *_patience(event)))
        case e.SightLost():
            _live(job, event, event.attempt)
            return replace(job, state=_lose(job.state, event.why))
        case e.SightRegained():
            attempt = _live(job, event, event.attempt)
            if not isinstance(job.state, Lost):
                return job
            stopping = Stopping(attempt, *_patience(job.state))
            return replace(job, state=stopping if job.state.stop_asked else Running(attempt))
        case e.Ended():
            return _end(job, event)
        case e.Cancelled():
            if not isinstance(job.state, Waiting):
                raise BadHistory("it was cancelled while it was not waiting")
            ran = "it ran again" if job.attempts else "it ran"
            return replace(job, state=Stopped(f"It was cancelled before {ran}."))
        case e.ResumeAsked():
            if not isinstance(job.state, Final):
                raise BadHistory("it was resumed before it had ended")
            return replace(
                job, state=Queued(), fruitless=0, hung_at=None, start_failures=0, held=False, not_before=0.0
            )
        case e.Held() | e.Released():
            _waiting(job, event)
            return replace(job, held=isinstance(event, e.Held))
        case e.Moved():
            _waiting(job, event)
            # The settings hold the priority too, so that List shows it and an edit of another setting keeps it.
            context = msgspec.structs.replace(job.context, priority=event.priority)
            return replace(job, context=context, priority=event.priority, rank=event.rank)
        case e.Edited():
            if isinstance(job.state, Live):
                raise BadHistory("it was edited while it was running")
            priority = event.context.priority
            passing = job.passing_mode if event.context.watchdog == job.context.watchdog else None
            return replace(
                job,
                context=event.context,
                priority=job.priority if priority is None else priority,
                passing_mode=passing,
            )
        case e.WatchdogSet():
            if isinstance(job.state, Final):
                raise BadHistory("its watchdog was set after it had ended")
            if event.until is not None:
                return replace(job, passing_mode=PassingMode(mode=event.mode, until=event.until))
            context = msgspec.structs.replace(job.context, watchdog=event.mode)
            return replace(job, context=context, passing_mode=None)
        case e.Barred():
            _waiting(job, event)
            return replace(job, state=Failed(event.reason, event.failure))
        case e.Disowned():
            attempt = _live(job, event, event.attempt)
            if not isinstance(job.state, Lost):
                raise BadHistory("it was disowned while it was not lost")
            ended = replace(attempt, ended_at=event.at)
            return replace(job, state=Interrupted("The user confirmed that it is no longer running."), last=ended)
        case e.Annotated():
            return replace(job, annotation=event.annotation)
        case e.Restored():
            return job
        case _:
            assert_never(event)


def _reserve(job: Job, event: e.Reserved) -> Job:
    if not isinstance(job.state, Waiting):
        raise BadHistory(f"attempt {event.attempt} was reserved while the job was not waiting")
    if job.held:
        raise BadHistory(f"attempt {event.attempt} was reserved while the job was on hold")
    if event.attempt != job.attempts + 1:
        raise BadHistory(f"attempt {event.attempt} follows attempt {job.attempts}")
    attempt = Attempt(
        number=event.attempt,
        adapter=event.adapter,
        unit=event.unit,
        mark=event.mark,
        place=event.place,
        gpus=tuple(event.gpus),
        log_offset=event.log_offset,
        metrics_offset=event.metrics_offset,
        log_inode=event.log_inode,
        metrics_inode=event.metrics_inode,
        resumed_from=event.resumed_from,
        step=event.step,
        final_before=event.final_before,
        reserved_at=event.at,
        temporary=event.temporary,
    )
    return replace(job, state=Starting(attempt), attempts=event.attempt, last=attempt)


def _import(job: Job, event: e.Imported) -> Job:
    if not isinstance(job.state, Queued) or job.attempts:
        raise BadHistory("it was imported after its first attempt here")
    match event.outcome:
        case "completed":
            return replace(job, state=Completed(event.reason))
        case "stopped":
            return replace(job, state=Stopped(event.reason))
        case "failed":
            return replace(job, state=Failed(event.reason, event.failure or "other"))
        case other:
            raise BadHistory(f"it was imported as {other!r}, which this version does not know")


def _hang(job: Job, event: e.HangFound) -> Job:
    attempt = _live(job, event, event.attempt)
    step = max(attempt.step, event.step or 0)
    hang = Hang(
        at=event.at,
        rule=event.rule,
        why=event.why,
        since=event.since,
        evidence=event.evidence,
        phase=event.phase,
        step=step,
        acts=event.acts,
        before=job.hung_at if job.hung_at is not None and step <= job.hung_at else None,
    )
    job = _refine(job, event, lambda attempt: replace(attempt, hang=hang))
    return replace(job, hung_at=step) if event.acts else job


def acted_on(attempt: Attempt) -> Hang | None:
    """The hang for which the attempt is being stopped; None if there is none."""
    return attempt.hang if attempt.hang is not None and attempt.hang.acts else None


def _end(job: Job, event: e.Ended) -> Job:
    attempt = replace(_live(job, event, event.attempt), ended_at=event.at, exit=event.exit, log_size=event.log_size)
    advanced = event.checkpoint_step > job.checkpoint_step
    state = _state_after(event)
    if isinstance(state, Waiting) and stop_asked(job):
        # The stop was recorded while the end was being judged. It was acknowledged, so it stays in force.
        state = Stopped(event.reason)
    job = replace(
        job,
        state=state,
        last=attempt,
        steps_lost=job.steps_lost + event.steps_lost,
        checkpoint_step=max(job.checkpoint_step, event.checkpoint_step),
        not_before=event.not_before,
        energy=job.energy if event.energy is None else (job.energy or 0.0) + event.energy,
    )
    if event.outcome == "never_started":
        # `again`: the daemon died during the start, which isn't a failure of the start, so there is no pause.
        return replace(job, start_failures=0 if event.again else job.start_failures + 1)
    if isinstance(state, Interrupted) and not event.again:
        job = replace(job, held=True)  # by its restart policy, a person has to look first
    tried_again = event.again or event.outcome == "interrupted"
    return replace(job, fruitless=job.fruitless + 1 if tried_again and not advanced else 0)


def stop_asked(job: Job) -> bool:
    """Whether the user asked to stop the running attempt."""
    return isinstance(job.state, Stopping) or (isinstance(job.state, Lost) and job.state.stop_asked)


def stops_later(job: Job) -> Stopping | Lost | None:
    """The state of a job that is to be stopped after its next complete checkpoint; None for any other job."""
    return job.state if isinstance(job.state, (Stopping, Lost)) and job.state.after_checkpoint else None


def _patience(asked: e.StopAsked | Stopping | Lost) -> tuple[bool, str | None]:
    return asked.after_checkpoint, asked.newest_checkpoint


def _lose(state: State, why: str) -> Lost:
    """The state `Lost`, which keeps a stop that the user asked for."""
    assert isinstance(state, Live)
    if isinstance(state, Lost):
        return replace(state, why=why)
    patience = _patience(state) if isinstance(state, Stopping) else (False, None)
    return Lost(state.attempt, why, isinstance(state, Stopping), *patience)


def _state_after(event: e.Ended) -> State:
    match event.outcome:
        case "completed":
            return Completed(event.reason)
        case "failed" if event.again:
            return Queued(event.reason)
        case "failed":
            return Failed(event.reason, event.failure or "other")
        case "stopped":
            return Stopped(event.reason)
        case "interrupted":
            return Interrupted(event.reason)
        case "never_started":
            return Queued()
        case other:
            raise BadHistory(f"attempt {event.attempt} ended as {other!r}, which this version does not know")


def _refine(
    job: Job,
    event: e.Spawned | e.Placed | e.Started | e.Unsupervised | e.HangFound,
    change: Callable[[Attempt], Attempt],
) -> Job:
    attempt = change(_live(job, event, event.attempt))
    state = job.state
    assert isinstance(state, Live)
    return replace(job, state=replace(state, attempt=attempt), last=attempt)


def _live(job: Job, event: e.AnyEvent, number: int) -> Attempt:
    if not isinstance(job.state, Live):
        raise BadHistory(f"{_name(event)} was recorded while no attempt was running")
    if job.state.attempt.number != number:
        raise BadHistory(f"{_name(event)} belongs to attempt {number}, but {job.state.attempt.number} was running")
    return job.state.attempt


def _waiting(job: Job, event: e.AnyEvent) -> None:
    if not isinstance(job.state, Waiting):
        raise BadHistory(f"{_name(event)} was recorded while the job was not waiting")


def _name(event: e.AnyEvent) -> str:
    return str(event.__struct_config__.tag)
