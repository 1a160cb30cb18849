# SPDX-License-Identifier: Apache-2.0
"""How an ended attempt is judged: completed, failed, stopped or interrupted, and why, in one sentence.

Failed, interrupted and lost are never mixed up (DESIGN: States). "completed" needs exit 0 and the result; a SIGTERM
that the daemon did not send is an interruption whatever the exit code says.
"""

import errno
import signal
from dataclasses import dataclass

from fluxgymd.core.job import Hang
from fluxgymd.core.records import ExitRecord

EXEC_ERRORS = {
    errno.ENOENT: "the file, or the interpreter that it names, is not there",
    errno.ENOTDIR: "the file, or the interpreter that it names, is not there",
    errno.EACCES: "the file is not executable",
    errno.ENOEXEC: "the file is no program that this machine can run",
    errno.E2BIG: "its arguments are too long",
    errno.ENOSPC: "the disk is full",
}
"""What execve(2) says, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """The facts about an attempt of which nothing is left."""

    exit: ExitRecord | None
    rebooted: bool
    """The boot or namespace that it ran in is gone."""
    stop_asked: bool
    manager_stays: bool
    """Seen as it happened: the service manager is up and not about to leave."""
    step: int
    total_steps: int | None
    hang: Hang | None
    """The hang for which it was stopped."""
    result_problem: str | None
    """Why the final file does not count as made by this attempt; None if it does."""
    last_line: str | None
    """The last line of the trainer's output that says something."""


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: str
    reason: str


def judge(ending: Ending) -> Outcome:
    """The outcome of an attempt."""
    record = ending.exit
    left_well = record is not None and record.kind == "exited" and record.code == 0
    missing = ending.result_problem or _steps_missing(ending)
    if left_well and missing is None:
        return Outcome("completed", "It ended well, and its result is whole.")
    if ending.stop_asked:
        return Outcome("stopped", _stopped(record, ending.step))
    if ending.hang is not None:
        return Outcome("interrupted", _hung(ending.hang))
    if record is None:
        if ending.rebooted:
            return Outcome("interrupted", "The machine went down while it ran.")
        return Outcome("interrupted", "It was killed together with its supervisor; how it ended is not known.")
    if record.term_seen and ending.manager_stays:
        return Outcome("stopped", "Its scope was stopped from outside of FluxGym.")
    if record.term_seen or record.signal == signal.SIGTERM or record.code == 128 + signal.SIGTERM:
        return Outcome("interrupted", "It was ended from outside by SIGTERM.")
    if left_well:
        return Outcome("failed", f"It left with exit status 0, but {missing}.")
    return Outcome("failed", _failed(record, ending.last_line))


def _steps_missing(ending: Ending) -> str | None:
    if ending.total_steps is None or ending.step >= ending.total_steps:
        return None
    return f"only {ending.step} of {ending.total_steps} steps were trained"


def _stopped(record: ExitRecord | None, step: int) -> str:
    at = f" at step {step}" if step else ""  # a program has no steps
    if record is not None and (record.kind == "exited" or record.signal == signal.SIGTERM):
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
                reason += " because the memory of the machine ran out"
        case _:
            reason = f"It left with exit status {record.code}"
    return f"{reason}: {last_line.rstrip('.')}." if last_line else f"{reason}."
