# SPDX-License-Identifier: Apache-2.0
"""Finds processes of attempts that belong to no job any more: a job's folder was deleted or renamed while it ran.

Their GPUs stay reserved until they are gone (promise 4). They are signalled only if the user stops the job by its
name. Their environment is the proof (promise 6): it names a file of a job in this home and the mark of an attempt, in
a process of this user.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fluxgymd.attempts import processes
from fluxgymd.core.journal.records import Process


@dataclass(frozen=True, kw_only=True, slots=True)
class Orphan:
    process: Process
    job: str
    """The name of the job at the start of the attempt."""
    mark: str
    """The mark of the attempt."""
    gpus: tuple[str, ...]
    """The UUIDs of its GPUs, as in CUDA_VISIBLE_DEVICES."""
    temporary: Path | None
    """The folder of the attempt's temporary files."""


def find(outputs: Path, known: Collection[str]) -> list[Orphan]:
    """The processes that were started for a job in `outputs`, with a mark that is not in `known`. Blocks."""
    found = (processes.about(one.process, lambda pid: _orphan(pid, outputs, known)) for one in processes.everyone())
    return [orphan for orphan in found if orphan is not None]


def _orphan(pid: int, outputs: Path, known: Collection[str]) -> Orphan | None:
    """The orphan with this pid, judged by the variables that jobs/spec.py's `attempt_spec` sets; None if it isn't
    one."""
    mark = processes.variable(pid, processes.MARK)
    metrics = processes.variable(pid, "FLUXGYM_METRICS")
    if mark is None or mark in known or metrics is None or not _same(Path(metrics).parent.parent, outputs):
        return None
    stat = processes.stat(pid)
    if stat is None or not _is_mine(pid):
        return None
    gpus = processes.variable(pid, "CUDA_VISIBLE_DEVICES") or ""
    temporary = processes.variable(pid, "TMPDIR")
    return Orphan(
        process=stat.process,
        job=Path(metrics).parent.name,
        mark=mark,
        gpus=tuple(filter(None, gpus.split(","))),
        temporary=None if temporary is None else Path(temporary),
    )


def _same(one: Path, other: Path) -> bool:
    """Whether both paths lead to the same folder: a home may have several paths."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _is_mine(pid: int) -> bool:
    """Whether the process is this user's. Root can read the environment of other users' processes, which may contain
    anything."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.getuid()
    except OSError:
        return False
