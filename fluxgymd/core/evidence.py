# SPDX-License-Identifier: Apache-2.0
"""What became of an attempt, concluded from evidence alone (the truth table of DESIGN.md, "An attempt").

No single sign proves an end: systemd says "removed" of running units at each reload, and a scope keeps no exit
status. So four facts are weighed together, and where they do not suffice the answer is "lost", never a guess
(promises 2, 4 and 6).
"""

from dataclasses import dataclass
from enum import Enum

from fluxgymd.core.records import ExitRecord


class Where(Enum):
    """Where the attempt ran, seen from here."""

    HERE = "here"
    OTHER_BOOT = "other boot"
    """This machine, before a reboot or in a pid namespace that is gone: nothing of it can run any more."""
    ELSEWHERE = "elsewhere"
    """Another machine: its processes cannot be seen from here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    where: Where
    shim_known: bool
    """shim.json is there."""
    started: bool
    """started.json is there."""
    exit: ExitRecord | None
    lock_held: bool
    """The shim's flock: the kernel drops it whatever happens."""
    populated: bool | None
    """Processes of the attempt exist (its cgroup, or its members). None: it cannot be told."""


@dataclass(frozen=True, slots=True)
class Runs:
    """It runs, or is about to leave: look again when the shim is gone."""


@dataclass(frozen=True, slots=True)
class Ended:
    """It ended as recorded (None: no record could be had), and nothing of it is left."""

    exit: ExitRecord | None


@dataclass(frozen=True, slots=True)
class LeftOver:
    """The trainer ended as recorded, but processes of the attempt remain: they are to be stopped, the GPU kept."""

    exit: ExitRecord


@dataclass(frozen=True, slots=True)
class NeverStarted:
    """The gate was never opened: it costs no retry."""


@dataclass(frozen=True, slots=True)
class Rebooted:
    """The machine or the namespace that it ran in is gone, and it left no exit record."""


@dataclass(frozen=True, slots=True)
class LostSight:
    """Something of it may run, or ran where we cannot look: the GPU stays taken."""

    why: str


Conclusion = Runs | Ended | LeftOver | NeverStarted | Rebooted | LostSight


def conclude(evidence: Evidence) -> Conclusion:
    """The truth table. Its rows stand in the order in which they win."""
    if evidence.where is Where.ELSEWHERE:
        return LostSight("it was started on another machine, which cannot be asked from here")
    if evidence.exit is not None:
        if evidence.exit.kind == "never-started":
            return NeverStarted()
        if evidence.where is Where.OTHER_BOOT:
            return Ended(evidence.exit)
        if evidence.lock_held:
            return Runs()  # the record is written, the shim is about to leave
        if evidence.populated is None:
            return LostSight("its trainer ended, but whether anything of it still runs cannot be told")
        return LeftOver(evidence.exit) if evidence.populated else Ended(evidence.exit)
    if evidence.where is Where.OTHER_BOOT:
        return Rebooted() if evidence.started or evidence.shim_known else NeverStarted()
    if evidence.lock_held:
        return Runs()
    if evidence.populated is None:
        return LostSight("its supervising process is gone, and whether its trainer runs cannot be told")
    if evidence.populated:
        return LostSight("its supervising process is gone, but its trainer may still run")
    if not evidence.started:
        return NeverStarted()
    return Ended(None)
