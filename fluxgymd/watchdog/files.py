# SPDX-License-Identifier: Apache-2.0
"""Reads a job's progress from its files: the trainer's records, and the names and sizes of up to MOST_FILES files per
folder. Blocks.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from fluxgym.protocol.messages import Phase
from fluxgymd.core.job import Attempt
from fluxgymd.store.caches.torn import ENDINGS
from fluxgymd.store.home import JobFolder
from fluxgymd.store.room import room
from fluxgymd.trainers.port import Trainer

MOST_FILES = 100_000
"""Per folder, so that a look stays cheap whatever somebody puts there."""
OUTPUTS = (".safetensors", ".safetensors.tmp", ".ckpt", ".pt")
"""Endings of the files that a trainer saves into the job's folder. The daemon's own files have none of them."""
NO_OUTPUTS = ("attempts", "dataset")
"""Folders in the job's folder that no trainer saves into."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the files. The fields are those of an observation."""

    told: bool = True
    untold_why: str | None = None
    phase: Phase | None = None
    step: int | None = None
    highest_step: int | None = None
    total_steps: int | None = None
    done: int | None = None
    longest_step: float | None = None
    cache_files: int | None = None
    output_bytes: int | None = None
    log_bytes: int = 0
    disk_free: int | None = None


class Files:
    """The looks at one attempt's files."""

    def __init__(self, folder: JobFolder, attempt: Attempt, trainer: Trainer) -> None:
        self._folder = folder
        self._log_inode = attempt.log_inode
        self._trainer = trainer
        self._told = trainer.progress(folder, attempt)
        self._written = Written()

    def look(self) -> Seen:
        self._told.read()
        progress, problem = self._told.progress, self._told.problem
        silent = self._silent() if problem is None else None
        return Seen(
            told=problem is None,
            untold_why=problem,
            phase=progress.phase if progress is not None else silent,
            step=progress.step if progress is not None else None,
            highest_step=self._told.highest_step,
            total_steps=progress.total_steps if progress is not None else None,
            done=self._told.work,
            longest_step=self._told.longest_step,
            cache_files=count_caches(self._folder),
            output_bytes=self._written.bytes_after(outputs(self._folder.path)),
            log_bytes=_size(self._folder.log, self._log_inode),
            disk_free=_free(self._folder.path),
        )

    def _silent(self) -> Phase | None:
        """The phase while nothing is reported: starting, if the trainer is one that reports its phases."""
        return Phase.STARTING if self._trainer.tells_phase() else None


class Written:
    """Counts the bytes written to files, by the files' sizes. The count only grows, even if files are deleted."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._bytes = 0

    def bytes_after(self, files: Iterator[os.stat_result]) -> int:
        """The count after a look. Files are identified by inode, so that a renamed file is not counted twice."""
        sizes: dict[int, int] = {}
        for file in files:
            before = self._sizes.get(file.st_ino, 0)
            # A file that is shorter than before is another one with the same inode.
            self._bytes += file.st_size - before if file.st_size >= before else file.st_size
            sizes[file.st_ino] = file.st_size
        self._sizes = sizes
        return self._bytes


def count_caches(job: JobFolder) -> int | None:
    """The number of cache files beside the pictures; None if a folder cannot be read. A missing folder counts as
    unknown too, not as empty: when it comes back, its caches are not new work."""
    try:
        return sum(_caches_in(folder) for folder in job.picture_folders())
    except OSError:
        return None


def _caches_in(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(entry.name.endswith(ENDINGS) for entry in islice(entries, MOST_FILES))


def outputs(home: Path) -> Iterator[os.stat_result]:
    """The files that a trainer writes: LoRAs, and everything in the folders beside them, that is samples and states
    (also incomplete ones)."""
    for entry in _entries(home):
        inside = [entry] if entry.name.endswith(OUTPUTS) else []
        if _is_folder(entry) and entry.name not in NO_OUTPUTS:
            inside = _entries(Path(entry.path))
        for file in inside:
            with suppress(OSError):  # a trainer may rename and delete files meanwhile
                yield file.stat(follow_symlinks=False)


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """The entries of a folder; empty if it is gone."""
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, MOST_FILES))
    except OSError:
        return []


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    with suppress(OSError):
        return entry.is_dir(follow_symlinks=False)
    return False


def _size(path: Path, inode: int | None) -> int:
    """The size of a file; 0 if it is missing or has another inode."""
    with suppress(OSError):
        facts = path.stat()
        return facts.st_size if inode in (None, facts.st_ino) else 0
    return 0


def _free(path: Path) -> int | None:
    with suppress(OSError):
        return room(path).free
    return None
