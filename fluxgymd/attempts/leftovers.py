# SPDX-License-Identifier: Apache-2.0
"""Determines from a job's folder and from /proc, without the journal, whether anything of it may run on this machine.

This is needed when the journal is damaged (core/damage.py). In case of doubt the answer is yes, because a no gives
the job's GPUs to others. A process exists in only one boot of one machine, so an attempt that was started under
another boot id holds no GPU here.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from fluxgymd.attempts import cgroups, members, processes, records_on_disk
from fluxgymd.attempts.members import Members
from fluxgymd.attempts.records_on_disk import AttemptRecords
from fluxgymd.core.journal.records import Place, Process

SCOPE = "/fluxgym-"
"""Part of the name of every scope's cgroup. Attempts of the process adapter share the cgroup of the daemon that
started them."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason to assume that something of a job still runs."""

    attempt: int | None
    """None: it is not known which attempt."""
    why: str
    """A clause."""


def doubts(job: Path, here: Place) -> list[Doubt]:
    """What may run on this machine of the job in the folder `job`; empty if certainly nothing does. Blocks."""
    folder = job / "attempts"
    try:
        names = sorted(name for name in os.listdir(folder) if name.isdecimal())
    except FileNotFoundError:
        names = []  # the folder is created before anything is started
    except OSError as error:
        return [Doubt(None, f"{folder} cannot be read ({error.strerror})")]
    found = []
    for name in names:
        try:
            doubt = _doubt(job, records_on_disk.read(folder / name), here)
        except OSError as error:
            doubt = f"cannot be examined ({error.strerror})"
        if doubt is not None:
            found.append(Doubt(int(name), f"attempt {name} {doubt}"))
    if not found and _of_job(job, shim=None).proved:
        return [Doubt(None, "some of its processes are running")]
    return found


def _doubt(job: Path, found: AttemptRecords, here: Place) -> str | None:
    if found.lock_held:
        return "holds its lock"
    if found.shim is not None and found.shim.boot_id != here.boot_id:
        return None
    if found.notes:
        return "has a damaged record"
    if found.shim is None:
        # The gate is opened only after shim.json is on the disk (shim.py), so without it nothing was started.
        return None if found.started is None else "has lost the record of its supervising process"
    if found.exit is not None and found.exit.kind == "never-started":
        return None
    if found.shim.pid_namespace != here.pid_namespace:
        return None if found.exit is not None else "ran in another container of this machine, and left no exit record"
    left = _of_job(job, shim=found.shim.process)
    if left.proved or left.doubtful:
        return "has left processes"
    group = found.started.cgroup if found.started is not None else None
    if group is not None and SCOPE in group and cgroups.populated(group) is not False:
        return "has left processes in its scope"
    return None


def _of_job(job: Path, *, shim: Process | None) -> Members:
    """The processes whose environment names the job and its folder, and those of the shim's family and session."""

    def marked(process: Process) -> bool:
        return bool(processes.about(process, lambda pid: _carries(pid, job)))

    return members.sort(processes.everyone(), shim=shim, marked=marked)


def _carries(pid: int, job: Path) -> bool:
    metrics = processes.variable(pid, "FLUXGYM_METRICS")
    if processes.variable(pid, "FLUXGYM_JOB") != job.name or metrics is None:
        return False
    try:
        return os.path.samefile(os.path.dirname(metrics), job)  # a home may have several paths
    except OSError:
        return True
