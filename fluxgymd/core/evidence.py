# SPDX-License-Identifier: Apache-2.0
"""Concludes from evidence alone what happened to an attempt.

No single sign proves an end: systemd reports running units as removed at each reload, and a scope keeps no exit
status. So several facts are considered together, and where they don't suffice the answer is "lost", never a guess
(promises 2, 4 and 6). If the shim is killed, only the exit status is lost: as long as the records prove what lives
and what doesn't, the attempt is still running or has ended (docs/decisions/0085-a-trainer-without-its-shim.md).
"""

from dataclasses import dataclass
from enum import Enum

from fluxgymd.core.journal.records import ExitRecord


class Where(Enum):
    """Where the attempt ran, seen from here."""

    HERE = "here"
    OTHER_BOOT = "other boot"
    """This machine, before a reboot or in a pid namespace that is gone: nothing of it can run any more."""
    ELSEWHERE = "elsewhere"
    """Another machine: its processes cannot be seen from here."""


class TrainerProcess(Enum):
    """The state of the trainer's own process, which is identified by pid and start time."""

    LIVES = "lives"
    """It exists, and its mark or its cgroup proves that it is the attempt's."""
    ENDED = "ended"
    """There is no process with this pid and start time any more."""
    UNKNOWN = "unknown"
    """It was not recorded, can't be examined, or exists without proof that it is the attempt's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    where: Where
    shim_known: bool
    """shim.json exists."""
    started: bool
    """The trainer was started: there is a started.json, or the journal says so."""
    exit: ExitRecord | None
    supervised: bool
    """The shim lives: its lock is held, which the kernel releases however a process ends, or its process exists."""
    trainer: TrainerProcess
    populated: bool | None
    """Processes of the attempt exist, in its cgroup or by its mark. None: that can't be determined."""
    doubtful: tuple[int, ...] = ()
    """Pids of processes that may be the attempt's, without proof. They are never signalled."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The attempt runs or is about to end: look again when the shim is gone."""


@dataclass(frozen=True, slots=True)
class RunsAlone:
    """The shim is gone without an exit record and the trainer keeps running: its exit status will not be known."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The attempt ended as recorded (None: there is no exit record), and nothing of it is left."""

    exit: ExitRecord | None


@dataclass(frozen=True, slots=True)
class LeftOver:
    """The trainer ended as recorded (None: there is no exit record), but processes of the attempt remain. They have
    to be stopped, and the attempt keeps its GPUs until then."""

    exit: ExitRecord | None


@dataclass(frozen=True, slots=True)
class NeverStarted:
    """The trainer was never started, so the attempt doesn't count as a retry."""


@dataclass(frozen=True, slots=True)
class Rebooted:
    """The boot or pid namespace in which the attempt ran is gone, and there is no exit record."""


@dataclass(frozen=True, slots=True)
class LostSight:
    """Something of the attempt may run, here or where FluxGym can't see it: its GPUs stay reserved."""

    why: str
    """A clause."""


Over = Exited | NeverStarted | Rebooted
"""Nothing of the attempt is left."""
Conclusion = Runs | RunsAlone | LeftOver | LostSight | Over


def conclude(evidence: Evidence) -> Conclusion:
    """What happened to the attempt. The first rule that applies decides."""
    if evidence.where is Where.ELSEWHERE:
        return LostSight("it was started on another machine, which cannot be asked from here")
    if evidence.exit is not None:
        if evidence.exit.kind == "never-started":
            return NeverStarted()
        if evidence.where is Where.OTHER_BOOT:
            return Exited(evidence.exit)
        if evidence.supervised:
            return Runs()  # the record is written, and the shim is about to exit
        return _what_is_left(evidence)
    if evidence.where is Where.OTHER_BOOT:
        return Rebooted() if evidence.started or evidence.shim_known else NeverStarted()
    if evidence.supervised:
        return Runs()
    if evidence.trainer is TrainerProcess.LIVES:
        return RunsAlone()
    if evidence.started:
        if evidence.trainer is TrainerProcess.ENDED:
            return _what_is_left(evidence)
        return LostSight(f"its supervising process is gone, but its trainer may still be running{_named(evidence)}")
    if evidence.populated is False:
        return NeverStarted()
    return LostSight(f"its supervising process is gone, and it is unknown whether a trainer runs{_named(evidence)}")


def _what_is_left(evidence: Evidence) -> Exited | LeftOver | LostSight:
    """The conclusion for an attempt whose trainer has ended."""
    if evidence.populated is None:
        return LostSight(f"its trainer has ended, but processes that may belong to it still run{_named(evidence)}")
    return LeftOver(evidence.exit) if evidence.populated else Exited(evidence.exit)


def _named(evidence: Evidence) -> str:
    if not evidence.doubtful:
        return ""
    which = "process" if len(evidence.doubtful) == 1 else "processes"
    return f" ({which} {', '.join(map(str, evidence.doubtful))})"
