# SPDX-License-Identifier: Apache-2.0
"""A job in words: its progress, the reason for its state, how it ended. Pure functions of the wire's structs."""

from fluxgym.protocol.messages import Exit, ExitKind, Job, Phase, Progress, Runtime, State, Verdict, WaitingFor
from fluxgymctl.output import cut, plain
from fluxgymctl.prose import gpu, words

_WAITS = {
    WaitingFor.GPU: "waits for a free GPU",
    WaitingFor.START: "is about to start",
    WaitingFor.SUPERVISOR: "waits for a service manager to start it",
    WaitingFor.HELD: "is held until `fluxgymctl release {name}`",
    WaitingFor.PAUSED: "waits because the queue is paused; `fluxgymctl continue` ends the pause",
    WaitingFor.JOB: "waits for another job",
    WaitingFor.BACK_OFF: "will be retried after a pause",
    WaitingFor.SLOT: "waits for other programs to end",
    WaitingFor.HOME: "waits until the daemon is sure that it owns its home; see `fluxgymctl daemon`",
}
RUNS = (State.STARTING, State.RUNNING, State.STOPPING)


def why(job: Job) -> str:
    """What the job waits for, or the daemon's reason for its state."""
    reason = job.runtime.reason
    if job.runtime.waiting_for is None:
        return reason or words.ABSENT
    waits = _WAITS.get(job.runtime.waiting_for, "waits for something that this version does not know")
    waits = waits.format(name=job.context.name)
    if job.runtime.waiting_for is WaitingFor.GPU and reason:
        waits = "waits for its turn"  # `reason` may be that there is no GPU
    if job.runtime.waiting_for is WaitingFor.BACK_OFF and job.runtime.not_before is not None:
        waits = f"will be retried at {words.clock(job.runtime.not_before)}"
    return f"{waits}: {reason}" if reason else waits


def advice(job: Job) -> str | None:
    """What the job's owner can do about its state; None if there is nothing to do."""
    return job.runtime.failure.advice if job.runtime.failure is not None else job.runtime.advice


def doubt(job: Job) -> str | None:
    """The watchdog's verdict and its reason, unless the job is healthy or has no verdict."""
    told = job.runtime.watchdog
    if told is None or told.verdict is Verdict.HEALTHY:
        return None
    verdict = words.name(told.verdict)
    return f"{verdict}: {told.why}" if told.why else verdict


def slow(job: Job) -> str | None:
    """How slow the steps have become; None if they have not."""
    told = job.runtime.slow
    if told is None:
        return None
    now, usual = words.speed(told.seconds_per_step), words.speed(told.usual)
    return f"slow since {words.clock(told.since)}: {now}, usually {usual}"


def stuck(job: Job) -> bool:
    """Whether the job hangs; then its earlier speed and the time left are not shown."""
    return job.runtime.watchdog is not None and job.runtime.watchdog.verdict is Verdict.STUCK


def progress(job: Job) -> str:
    """Progress in one cell: the step of the training, or the item of another phase while it runs."""
    state = job.runtime.progress
    if state is None:
        return words.ABSENT
    if state.phase is not Phase.TRAINING and job.runtime.state in RUNS:
        return f"{state.phase} {words.share(state.done, state.total)}" if state.done is not None else str(state.phase)
    return words.share(state.step, state.total_steps)


def live_line(job: Job, *, width: int | None = None) -> str:
    """The line of `watch`. Less important parts are left out until it fits into `width` columns."""
    parts = _live_parts(job)
    if width is None:
        return plain(_join(parts))
    while len(parts) > 1 and len(_join(parts)) > width:
        parts.remove(max(parts, key=lambda part: part[0]))
    return plain(cut(_join(parts), width))


def _live_parts(job: Job) -> list[tuple[int, str]]:
    """(rank, text) in the order of the line. The highest rank is left out first."""
    runtime = job.runtime
    parts = [(0, job.context.name), (1, _doing(job))]
    if runtime.watchdog is not None:
        verdict = runtime.watchdog.verdict
        parts.append((11 if verdict is Verdict.HEALTHY else 2, words.name(verdict)))
    if runtime.slow is not None:
        parts.append((2, "slow"))
    return (
        parts
        + _progress_parts(runtime, moves=not stuck(job))
        + list(zip((5, 8, 9, 10), gpu.parts(job), strict=False))
    )


def _progress_parts(runtime: Runtime, *, moves: bool) -> list[tuple[int, str]]:
    parts: list[tuple[int, str]] = []
    state = runtime.progress
    if state is None or runtime.state not in RUNS:
        return parts
    if state.step is not None:
        parts.append((2, f"step {words.share(state.step, state.total_steps)}"))
    if state.epoch is not None:
        parts.append((7, f"epoch {state.epoch}/{words.text(state.total_epochs)}"))
    if state.loss is not None:
        parts.append((4, f"loss {loss(state)}"))
    if state.seconds_per_step is not None and moves:
        parts.append((6, words.speed(state.seconds_per_step)))
    if state.remaining_seconds is not None and moves:
        parts.append((3, f"ETA {words.duration(state.remaining_seconds)}"))
    return parts


def _doing(job: Job) -> str:
    """The phase while the trainer runs; otherwise the state and what the job waits for."""
    runtime = job.runtime
    state = runtime.progress
    if state is not None and runtime.state is State.RUNNING:
        return str(state.phase) if state.done is None else f"{state.phase} {words.share(state.done, state.total)}"
    if runtime.waiting_for is not None:
        return f"{runtime.state}, {why(job)}"
    return str(runtime.state)


def loss(state: Progress) -> str:
    """The moving mean of the loss if there is one, since the loss of a single step says little."""
    value = state.average_loss if state.average_loss is not None else state.loss
    return words.ABSENT if value is None else f"{value:.4f}"


def _join(parts: list[tuple[int, str]]) -> str:
    return "  ".join(text for _, text in parts)


def worth_a_line(before: Job | None, after: Job) -> bool:
    """Whether a change is worth a line where lines cannot be overwritten: a different state, reason, attempt,
    verdict, speed, phase or epoch, or another 5% of the steps."""
    return before is None or _landmark(before) != _landmark(after)


def _landmark(job: Job) -> tuple[object, ...]:
    runtime = job.runtime
    state = runtime.progress
    attempt = runtime.attempt.number if runtime.attempt else None
    place: tuple[object, ...] = ()
    if state is not None and runtime.state in RUNS:
        twentieth = words.percent(state.step, state.total_steps) // 5 if state.step and state.total_steps else None
        place = (state.phase, state.epoch, twentieth)
    verdict = runtime.watchdog.verdict if runtime.watchdog is not None else Verdict.HEALTHY
    is_slow = runtime.slow is not None
    return (runtime.state, runtime.waiting_for, runtime.reason, attempt, verdict, is_slow, *place)


def ending(job: Job) -> str:
    """How the job ended, in one line: where its result is, or why there is none."""
    runtime = job.runtime
    detail = runtime.result if runtime.state is State.COMPLETED else runtime.reason
    return f"{job.context.name} {runtime.state}" + (f": {plain(detail)}" if detail else "")


def exit_words(record: Exit | None) -> str:
    """The exit record in words. A code that is not known is shown as absent."""
    if record is None:
        return words.ABSENT
    seen = [words.signal_name(number) for number in record.endings_seen or ()]
    if record.term_seen and not seen:
        seen = ["SIGTERM"]  # the record does not say which signal it was
    term = f", after {' and '.join(seen)}" if seen else ""
    match record.kind:
        case ExitKind.EXITED:
            return f"exit status {words.text(record.code)}{term}"
        case ExitKind.SIGNALED:
            return f"killed by {words.ABSENT if record.signal is None else words.signal_name(record.signal)}{term}"
        case ExitKind.NEVER_STARTED:
            return "never started"
        case ExitKind.EXEC_FAILED:
            return "could not be executed"
        case ExitKind.UNKNOWN:
            return "unknown"
