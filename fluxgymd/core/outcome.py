# SPDX-License-Identifier: Apache-2.0
"""Judges an ended attempt: completed, failed, stopped or interrupted, with the reason.

"completed" requires exit status 0 and a complete result. A SIGTERM that the daemon didn't send is an interruption
whatever the exit status is, and so is any other signal with which people and service managers end programs. But if
the service manager stays up, a SIGTERM to the complete scope counts as a stop. A signal caused by a fault of the
program is a failure. If the shim was killed, the exit status is unknown and none is invented: the result alone
decides.
"""

import errno
import signal
from dataclasses import dataclass
from typing import Literal

from fluxgymd.core.job import Hang
from fluxgymd.core.journal.records import ExitRecord

EXEC_ERRORS = {
    errno.ENOENT: "the file, or the interpreter that it names, does not exist",
    errno.ENOTDIR: "the file, or the interpreter that it names, does not exist",
    errno.EACCES: "the file is not executable",
    errno.ENOEXEC: "the file is not a program that this machine can run",
    errno.E2BIG: "its arguments are too long",
    errno.ENOSPC: "the disk is full",
}
"""Clauses for the errors of execve(2)."""

ENDED_FROM_OUTSIDE = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGPWR),  # cluster schedulers announce a time limit with these
)
"""Signals that a program neither causes by a fault nor sends itself, so a person or a service manager sent them.
SIGKILL is not among them because the kernel sends it too, nor are SIGALRM, SIGPIPE, SIGXCPU and the like, which
result from what the program did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """How far a training came, from reliable evidence only. Progress that is merely displayed doesn't count."""

    done: int
    planned: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """The facts about an attempt of which nothing is left."""

    exit: ExitRecord | None
    """None: unknown, because the shim was killed or the machine went down."""
    rebooted: bool
    """The boot or pid namespace in which it ran is gone."""
    unsupervised: bool
    """Its shim ended before its trainer did."""
    stop_asked: bool
    """The user asked to stop it."""
    manager_stays: bool
    """The daemon saw it running before it ended, and the service manager is up and not about to exit."""
    step: int
    """The furthest known step, for the sentence."""
    steps: Steps | None
    """None: unknown, which doesn't count against a complete result of a trainer with exit status 0."""
    counts_steps: bool
    """It is a training: if its exit status is unknown, all its steps have to be known to be done."""
    hang: Hang | None
    """The hang that led to the stop."""
    result_problem: str | None
    """Why the final file doesn't count as the result of this attempt; None if it does."""
    last_line: str | None
    """The last meaningful line of the trainer's output."""


OutcomeKind = Literal["completed", "failed", "stopped", "interrupted", "never_started"]
"""As in the journal (events.Ended)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: OutcomeKind
    reason: str


def judge(ending: Ending) -> Outcome:
    """The outcome of an attempt, with the reason in a sentence or two."""
    record = ending.exit
    left_well = record is not None and record.kind == "exited" and record.code == 0
    missing = ending.result_problem or _steps_missing(ending.steps)
    if left_well and missing is None:
        return Outcome("completed", "Finished successfully.")
    if record is None and not ending.rebooted and ending.result_problem is None and _steps_done(ending):
        return Outcome("completed", "Its result is complete. Its exit status is unknown: its supervisor was gone.")
    if ending.stop_asked:
        return Outcome("stopped", _stopped(record, ending.step))
    if ending.hang is not None:
        return Outcome("interrupted", _hung(ending.hang))
    if record is None:
        if ending.rebooted:
            return Outcome("interrupted", "The machine went down while it ran.")
        alone = "after its supervisor" if ending.unsupervised else "together with its supervisor"
        return Outcome("interrupted", f"It ended {alone}, so its exit status is unknown.")
    seen = _endings_seen(record)
    if signal.SIGTERM in seen and ending.manager_stays:
        return Outcome("stopped", "Its scope was stopped from outside FluxGym.")
    by = next((number for number in ENDED_FROM_OUTSIDE if number in seen or _ended_by(record, number)), None)
    if by is not None:
        return Outcome("interrupted", f"It was ended from outside FluxGym by {by.name}.")
    if left_well:
        return Outcome("failed", f"It exited with status 0, but {missing}.")
    return Outcome("failed", _failed(record, ending.last_line))


def _endings_seen(record: ExitRecord) -> tuple[int, ...]:
    """The signals that asked the complete attempt to end."""
    if record.term_seen and not record.endings_seen:
        return (signal.SIGTERM,)  # a shim of an earlier version doesn't record which signals it saw
    return record.endings_seen


def _ended_by(record: ExitRecord, number: signal.Signals) -> bool:
    """Whether the signal killed the trainer, or its exit status stands for that signal (128 + number)."""
    return record.signal == number or record.code == 128 + number


def _steps_missing(steps: Steps | None) -> str | None:
    if steps is None or steps.planned is None or steps.done >= steps.planned:
        return None
    return f"only {steps.done} of {steps.planned} steps were trained"


def _steps_done(ending: Ending) -> bool:
    """Whether all steps are known to be done."""
    if not ending.counts_steps:
        return True
    return ending.steps is not None and ending.steps.planned is not None and _steps_missing(ending.steps) is None


def _stopped(record: ExitRecord | None, step: int) -> str:
    at = f" at step {step}" if step else ""  # a program has no steps
    if record is None:
        return f"It was stopped by the user{at}; its exit status is unknown."
    if record.kind == "exited" or record.signal == signal.SIGTERM:
        return f"It was stopped by the user{at}."
    return f"It was stopped by the user{at}; it had to be killed."


def _hung(hang: Hang) -> str:
    phase = f" in the phase {hang.phase}" if hang.phase is not None else ""
    step = f" at step {hang.step}" if hang.step else ""  # a program has no steps
    return f"It hung{phase}{step}. {hang.why}"


def _failed(record: ExitRecord, last_line: str | None) -> str:
    match record.kind:
        case "exec-failed":
            return f"It could not be started: {EXEC_ERRORS.get(record.errno or 0, f'errno {record.errno}')}."
        case "signaled":
            number = record.signal or 0
            name = signal.Signals(number).name if number in signal.valid_signals() and number < 32 else str(number)
            reason = f"It was killed by {name}"
            if record.oom_kills:
                reason += " because the machine ran out of memory"
        case _:
            reason = f"It exited with status {record.code}"
    told = f"{reason}: {last_line.rstrip('.')}." if last_line else f"{reason}."
    if record.disk_full and not record.last_words:
        return f"{told} The disk that holds its log was full."
    return told
