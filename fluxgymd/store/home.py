# SPDX-License-Identifier: Apache-2.0
"""The home and the folders of its jobs: names on the disk, how a job's folder appears, and how it goes away.

A folder under outputs/ is a job from the moment it has its name: it is built as `.new-ID`, made durable, and renamed.
It goes the same way back: renamed to `.trash-ID` first, then deleted.
"""

import errno
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import sync_folder

JOURNAL = "events.jsonl"
OWNER = "owner.json"
"""The record of the home's daemon (store/owner.py)."""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The files of one job (DESIGN: A job and its home)."""

    where: Path | str
    """Kept as text: a Path is five times as large, and there is one for each job (bench/control_plane.py)."""

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
        """Whether it holds a journal. Blocks."""
        return os.path.exists(os.path.join(self.where, JOURNAL))  # no Path: there are thousands

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL

    @property
    def settings(self) -> Path:
        return self.path / "ui_state.json"

    @property
    def dataset(self) -> Path:
        return self.path / "dataset"

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

    @property
    def result(self) -> Path:
        return self.path / f"{self.name}.safetensors"

    @property
    def program_result(self) -> Path:
        return self.path / "result.json"

    def attempt(self, number: int) -> Path:
        return self.path / "attempts" / f"{number:03d}"


class Home:
    """The folder that FLUXGYM_HOME names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outputs = path / "outputs"

    def prepare(self) -> None:
        """Makes what is missing and deletes what a crash left half-made or half-deleted."""
        self.outputs.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.path, *self.path.absolute().parents):
            # Each time: a daemon that made them may have died before this. What is above may be closed to us.
            with suppress(PermissionError):
                sync_folder(folder)
        for entry in os.scandir(self.outputs):
            if entry.name.startswith((".new-", ".trash-")):
                failpoint("home.sweeps")
                shutil.rmtree(entry.path, ignore_errors=True)
                failpoint("home.swept")

    def folder(self, name: str) -> JobFolder:
        return JobFolder(self.outputs / name)

    def folders(self) -> list[JobFolder]:
        """Everything that may be a job: what holds a journal is one. Nothing of them is touched, for each may lie on
        a volume of its own, which may hang."""
        return [JobFolder(entry.path) for entry in os.scandir(self.outputs) if not entry.name.startswith(".")]

    def lacks(self, folder: JobFolder) -> bool:
        """Whether somebody has deleted a job's folder: the home is there and the folder is not. Blocks.

        The home's own record tells it from a volume that is away for a while, with all jobs on it.
        """
        return not os.path.lexists(folder.where) and (self.path / OWNER).exists() and self.outputs.is_dir()

    def new_folder(self, job_id: str) -> Path:
        """An empty folder to build a job in."""
        folder = self.outputs / f".new-{job_id}"
        folder.mkdir(mode=0o700)
        return folder

    def publish(self, built: Path, name: str) -> JobFolder:
        """Gives a built folder its name, durably. FileExistsError if the name is taken."""
        target = self.outputs / name
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        failpoint("publish.checked")
        sync_folder(built)
        failpoint("publish.synced")
        try:
            built.rename(target)
        except OSError as error:  # somebody has made it since the look
            if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
            raise
        failpoint("publish.renamed")
        sync_folder(self.outputs)
        failpoint("publish.durable")
        return JobFolder(target)

    def remove(self, folder: JobFolder, job_id: str) -> None:
        """Deletes a job's folder: gone for good once it is renamed, deleted in full if nothing crashes."""
        trash = self.outputs / f".trash-{job_id}"
        failpoint("remove.begins")
        with suppress(FileNotFoundError):  # somebody has deleted it by hand
            folder.path.rename(trash)
        failpoint("remove.renamed")
        sync_folder(self.outputs)
        failpoint("remove.durable")
        shutil.rmtree(trash, ignore_errors=True)
        failpoint("remove.deleted")
