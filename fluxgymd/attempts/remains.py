# SPDX-License-Identifier: Apache-2.0
"""Whether anything of a job may run on this machine, told by its folder and by /proc, without its journal.

It is asked where the journal is damaged (core/damage.py). In doubt the answer is yes: "no" gives GPUs to others.
A process runs in one boot of one machine alone: what was started under another boot id holds no GPU of this one.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from fluxgymd.attempts import cgroups, members, processes, records_on_disk
from fluxgymd.attempts.members import Members
from fluxgymd.attempts.records_on_disk import Found
from fluxgymd.core.records import Place, Process

SCOPE = "/fluxgym-"
"""In the name of a scope's cgroup. The process adapter's attempts share the group of the daemon that started them."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something may run."""

    attempt: int | None
    """None: of which attempt cannot be told."""
    why: str
    """A part of a sentence."""


def doubts(job: Path, here: Place) -> list[Doubt]:
    """What of the job in this folder may run on this machine; nothing if surely nothing does. Blocks."""
    folder = job / "attempts"
    try:
        names = sorted(name for name in os.listdir(folder) if name.isdecimal())
    except FileNotFoundError:
        names = []  # it is made before anything is started
    except OSError as error:
        return [Doubt(None, f"{folder} cannot be read ({error.strerror})")]
    found = []
    for name in names:
        try:
            doubt = _doubt(job, records_on_disk.read(folder / name), here)
        except OSError as error:
            doubt = f"cannot be looked at ({error.strerror})"
        if doubt is not None:
            found.append(Doubt(int(name), f"attempt {name} {doubt}"))
    if not found and _of_job(job, shim=None).proved:
        return [Doubt(None, "processes of it run")]
    return found


def _doubt(job: Path, found: Found, here: Place) -> str | None:
    if found.lock_held:
        return "holds its lock"
    if found.shim is not None and found.shim.boot_id != here.boot_id:
        return None
    if found.notes:
        return "has a damaged record"
    if found.shim is None:
        # The gate is opened behind shim.json (shim.py), so without it nothing was started.
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
    """The processes that carry the job's name and folder, and those of the shim's family and session."""

    def marked(process: Process) -> bool:
        return bool(processes.about(process, lambda pid: _carries(pid, job)))

    return members.sort(processes.everyone(), shim=shim, marked=marked)


def _carries(pid: int, job: Path) -> bool:
    metrics = processes.variable(pid, "FLUXGYM_METRICS")
    if processes.variable(pid, "FLUXGYM_JOB") != job.name or metrics is None:
        return False
    try:
        return os.path.samefile(os.path.dirname(metrics), job)  # a home may have several names
    except OSError:
        return True
