# SPDX-License-Identifier: Apache-2.0
"""What the folders of the jobs tell when the daemon starts. A damaged one hides no other, and neither does one whose
volume hangs (promise 8); in doubt what it may hold is kept (promise 4).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fluxgymd.attempts import place, remains
from fluxgymd.core import damage as damages
from fluxgymd.core.damage import Lease
from fluxgymd.core.job import Job
from fluxgymd.store import journal
from fluxgymd.store.home import Home, JobFolder
from fluxgymd.store.roll_call import SILENT, answers

PATIENCE_SECONDS = 20.0
"""For the volume of a job: a disk that stood still takes 10 s. The unit has 60 s for the whole start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What was read of one job."""

    job: Job | None
    """None if not even the first record of a damaged journal is good."""
    good_size: int
    damage: str | None
    """None if it is sound."""
    held: Lease | None
    """What a damaged job keeps."""


def everything(home: Home) -> Iterator[tuple[JobFolder, Read]]:
    """Every folder that holds a journal. Blocks."""
    for folder, found in answers(home.folders(), _find, patience=PATIENCE_SECONDS):
        if found is not None:
            yield folder, _silent() if found is SILENT else found


def read(folder: JobFolder) -> Read:
    """A damaged job if its journal cannot be read. Blocks."""
    try:
        history = journal.read(folder.journal)
    except OSError as error:
        problem = f"{folder.journal.name}: {error.strerror}"
        history = journal.History(job=None, good_size=0, problem=problem, traces=damages.UNREADABLE)
    damage = history.problem
    if damage is None and history.job is not None and history.job.name != folder.name:
        damage = f"its journal is that of {history.job.name}"
    held: Lease | None = None
    if damage is not None:
        doubts = remains.doubts(folder.path, place.here())
        held = damages.kept(history.traces, may_run={doubt.attempt for doubt in doubts})
        if held is damages.EVERYTHING:
            why = " and ".join(doubt.why for doubt in doubts)
            damage += f"; {why}, and on which GPU cannot be read, so all GPUs of this machine stay taken"
        elif held is not None:
            damage += f"; {', '.join(held) or 'the CPU'} stays taken, as something of it may run"
    return Read(job=history.job, good_size=history.good_size, damage=damage, held=held)


def _find(folder: JobFolder) -> Read | None:
    return read(folder) if folder.is_job else None


def _silent() -> Read:
    """What runs of it, and on which GPU, stands on its volume too, and what waits for that volume may have a GPU."""
    damage = (
        f"its volume does not answer within {PATIENCE_SECONDS:g} s; whether it runs, and on which GPU, cannot be "
        "read, so all GPUs of this machine stay taken"
    )
    return Read(job=None, good_size=0, damage=damage, held=damages.EVERYTHING)
