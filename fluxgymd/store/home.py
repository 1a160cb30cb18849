# SPDX-License-Identifier: Apache-2.0
"""The home and the folders of its jobs: names on the disk, and how a job's folder is created and deleted.

A job's folder is built under outputs/ as `.new-ID`, made durable, and renamed; with that name it is a job. A removed
job moves to the trash (job_trash.py). To delete a folder, the daemon first renames it to `.trash-ID`.
"""

import errno
import itertools
import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import sync_folder
from fluxgymd.store.job_trash import DOOMED, JobTrash, RemovedFolder

log = logging.getLogger(__name__)

NEW = ".new-"
"""The beginning of the name of a folder that is being built."""
JOURNAL = "events.jsonl"
OWNER = "owner.json"
"""The record of the home's daemon (store/owner.py)."""
COMMAND = "command.txt"
"""In the folder of an attempt: its command line, for people."""
OF_THE_DAEMON = (JOURNAL, "ui_state.json", "attempts", "dataset")
"""Names in a job's folder that no trainer creates. Each job has some of them from its submit on."""


SWEEPS = 3
"""Attempts at deleting a folder that an earlier daemon left behind."""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The paths of one job's files."""

    where: Path | str
    """Kept as text: a Path is five times as large, and each job has one (bench/control_plane.py)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", os.fspath(self.where))

    @property
    def path(self) -> Path:
        return Path(self.where)

    @property
    def name(self) -> str:
        return os.path.basename(self.where)

    @property
    def is_job(self) -> bool:
        """Whether the folder holds a journal. Blocks."""
        return os.path.lexists(os.path.join(self.where, JOURNAL))  # cheaper than a Path for each of thousands of jobs

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL

    @property
    def settings(self) -> Path:
        return self.path / "ui_state.json"

    @property
    def dataset(self) -> Path:
        return self.path / "dataset"

    def picture_folders(self) -> list[Path]:
        """The folders that may have pictures of the job: its copy of them, and the parts in it, whose names are 1, 2
        and so on (snapshots/subsets.py). Blocks."""
        parts = (self.dataset / str(number) for number in itertools.count(1))
        return [self.dataset, *itertools.takewhile(os.path.isdir, parts)]

    @property
    def dataset_config(self) -> Path:
        return self.path / "dataset.toml"

    @property
    def sample_prompts(self) -> Path:
        return self.path / "sample_prompts.txt"

    @property
    def log(self) -> Path:
        return self.path / "training.log"

    @property
    def monitor_log(self) -> Path:
        return self.path / "monitor.log"

    @property
    def monitor_pid(self) -> Path:
        return self.path / "monitor.pid"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "sample"

    def attempt(self, number: int) -> Path:
        return self.path / "attempts" / f"{number:03d}"


class Home:
    """The folder that FLUXGYM_HOME points to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outputs = path / "outputs"
        self.trash = JobTrash(self.outputs)
        self.shared_pictures = self.outputs / ".pictures"
        """Pictures that jobs share (store/caches/shared_pictures.py). They are here because hard links need the jobs'
        file system."""

    def prepare(self) -> None:
        """Creates missing folders, and deletes half-built and half-deleted jobs that a crash left behind."""
        self.outputs.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.path, *self.path.absolute().parents):
            # At each start, because a daemon may have died after it created them. Parents may be unreadable.
            with suppress(PermissionError):
                sync_folder(folder)
        for entry in os.scandir(self.outputs):
            if entry.name.startswith((NEW, DOOMED)):
                failpoint("home.sweeps")
                _sweep(entry.path)
                failpoint("home.swept")

    def folder(self, name: str) -> JobFolder:
        return JobFolder(self.outputs / name)

    def folders(self) -> list[JobFolder]:
        """Everything under outputs/ that may be a job (`is_job` says whether it is). The folders themselves are not
        accessed, because each may be on a separate volume that hangs."""
        return [JobFolder(entry.path) for entry in os.scandir(self.outputs) if not entry.name.startswith(".")]

    def lacks(self, folder: JobFolder) -> bool:
        """Whether somebody has deleted a job's folder: the home exists, but the folder does not, or it holds only
        files that a trainer has written since. Blocks.

        If the home's own record is missing too, the volume with all jobs is probably away, and the answer is no.
        """
        if not (self.path / OWNER).exists() or not self.outputs.is_dir():
            return False
        return not any(os.path.lexists(os.path.join(folder.where, name)) for name in OF_THE_DAEMON)

    def new_folder(self, job_id: str) -> Path:
        """Creates an empty folder to build a job in."""
        folder = self.outputs / f"{NEW}{job_id}"
        folder.mkdir(mode=0o700)
        return folder

    def publish(self, built: Path, name: str) -> JobFolder:
        """Renames a built folder to its final name, durably. Raises FileExistsError if the name is taken."""
        target = self.outputs / name
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        failpoint("publish.checked")
        sync_folder(built)
        failpoint("publish.synced")
        try:
            built.rename(target)
        except OSError as error:  # somebody has created it since the check above
            if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
            raise
        failpoint("publish.renamed")
        sync_folder(self.outputs)
        failpoint("publish.durable")
        return JobFolder(target)

    def remove(self, folder: JobFolder, job_id: str, *, now: float | None = None) -> RemovedFolder | None:
        """Removes a job's folder. `now`: the time, if the folder is to be kept in the trash; returns the removed job
        then. Otherwise it is deleted: the job is gone for good once the folder is renamed, and what a crash leaves
        behind is deleted at the next start."""
        failpoint("remove.begins")
        if now is not None:
            try:
                return self.trash.put(folder.path, job_id, now=now)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                # A disk that lacks even the room for this is one whose trash would be emptied anyway (run/trash.py).
        doomed = self.outputs / f"{DOOMED}{job_id}"
        with suppress(FileNotFoundError):  # somebody has deleted it by hand
            folder.path.rename(doomed)
        failpoint("remove.doomed")
        sync_folder(self.outputs)
        failpoint("remove.gone")
        shutil.rmtree(doomed, ignore_errors=True)
        failpoint("remove.deleted")
        return None


def _sweep(path: str) -> None:
    """Deletes a folder that an earlier daemon left behind. Several attempts are needed, because that daemon's copier
    may end a moment after the daemon."""
    for _ in range(SWEEPS):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return
    log.warning("%s could not be deleted; the next start will try again", path)
