# SPDX-License-Identifier: Apache-2.0
"""Reads the folders of all jobs when the daemon starts. A damaged job hides no other, and neither does one whose
volume hangs (promise 8). In case of doubt, the GPUs that a job may hold stay reserved (promise 4).
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from fluxgymd.attempts import leftovers, place
from fluxgymd.core import damage as damages
from fluxgymd.core.damage import Lease
from fluxgymd.core.job import Job
from fluxgymd.store import journal
from fluxgymd.store.home import Home, JobFolder
from fluxgymd.store.roll_call import SILENT, answers

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 20.0
"""For the volume of a job: a disk that has to spin up takes 10 s. The unit has 60 s for the whole start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedJob:
    """What was read from one job's folder."""

    job: Job | None
    """None only for a damaged job: its journal has no good first record, or could not be read or loaded."""
    good_size: int
    """Bytes up to the end of the journal's last good record."""
    damage: str | None
    """What is damaged, as a part of a sentence; None if the job is sound."""
    held: Lease | None
    """The lease that a damaged job keeps."""


def everything(home: Home) -> Iterator[tuple[JobFolder, LoadedJob]]:
    """Reads every folder that holds a journal. Blocks."""
    for folder, found in answers(home.folders(), _find, patience=PATIENCE_SECONDS):
        if found is not None:
            yield folder, _silent() if found is SILENT else found


def read(folder: JobFolder) -> LoadedJob:
    """Reads one job, which counts as damaged whatever is wrong with its journal. Blocks."""
    try:
        return _read(folder)
    except Exception as error:  # a bug in the daemon, which must affect this job alone
        log.exception("%s: its records could not be read", folder.name)
        return unloadable(folder, error)


def unloadable(folder: JobFolder, error: Exception) -> LoadedJob:
    """For a job that this version cannot load, although it finds nothing wrong with the journal. Blocks."""
    problem = f"{folder.journal.name} cannot be loaded ({type(error).__name__}: {error})"
    try:
        return _damaged(folder, journal.History(job=None, good_size=0, problem=problem, traces=damages.UNREADABLE))
    except Exception:
        log.exception("%s: its attempts could not be examined", folder.name)
        damage = f"{problem}; all GPUs of this machine stay reserved because it is unknown which the job holds"
        return LoadedJob(job=None, good_size=0, damage=damage, held=damages.EVERYTHING)


def damage_sentence(folder: JobFolder, damage: str) -> str:
    """What is wrong with a damaged job, and how to repair it."""
    return (
        f"The journal of {folder.name} is damaged: {damage}. Nothing is written to it; "
        f"repair or restore {folder.journal}, or move the folder {folder.path} away, then restart fluxgymd."
    )


def _read(folder: JobFolder) -> LoadedJob:
    try:
        history = journal.read(folder.journal)
    except OSError as error:
        problem = f"{folder.journal.name}: {error.strerror}"
        history = journal.History(job=None, good_size=0, problem=problem, traces=damages.UNREADABLE)
    if history.problem is None and history.job is not None and history.job.name != folder.name:
        history = replace(history, problem=f"its journal belongs to {history.job.name}")
    if history.problem is None:
        # Raises if a number exceeds 64 bits, as a sum may: such a job can be neither packed nor shown.
        msgspec.msgpack.encode(history.job)
        return LoadedJob(job=history.job, good_size=history.good_size, damage=None, held=None)
    return _damaged(folder, history)


def _damaged(folder: JobFolder, history: journal.History) -> LoadedJob:
    damage = history.problem or "it is damaged"
    doubts = leftovers.doubts(folder.path, place.here())
    held = damages.kept(history.traces, may_run={doubt.attempt for doubt in doubts})
    if held is damages.EVERYTHING:
        why = " and ".join(doubt.why for doubt in doubts)
        damage += f"; {why}, but its GPU is unknown, so all GPUs of this machine stay reserved"
    elif held is not None:
        damage += f"; {', '.join(held) or 'the CPU'} stays reserved because the job may be running"
    return LoadedJob(job=history.job, good_size=history.good_size, damage=damage, held=held)


def _find(folder: JobFolder) -> LoadedJob | None:
    return read(folder) if folder.is_job else None


def _silent() -> LoadedJob:
    """For a volume that hangs: the records of what runs are on it, and a process that waits for it may hold a GPU."""
    damage = (
        f"its volume did not answer within {PATIENCE_SECONDS:g} s; whether it is running, and on which GPU, is "
        "unknown, so all GPUs of this machine stay reserved"
    )
    return LoadedJob(job=None, good_size=0, damage=damage, held=damages.EVERYTHING)
