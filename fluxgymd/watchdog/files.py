# SPDX-License-Identifier: Apache-2.0
"""What the files of a job tell of its progress. Blocks on the disk; only names and sizes are read, and of no more
than MOST_FILES.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from fluxgym.messages import Phase
from fluxgymd.store.caches import ENDINGS
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya
from fluxgymd.trainers.attempt_progress import AttemptProgress

MOST_FILES = 100_000
"""In one folder: a look stays cheap, whatever somebody puts there."""
OUTPUTS = (".safetensors", ".safetensors.tmp", ".ckpt", ".pt")
"""How a file ends that a trainer saves into the job's folder; the job's own files are none of these."""
NO_OUTPUTS = ("attempts", "dataset")
"""Folders of the job that no trainer saves into."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the files. The fields are those of an observation."""

    phase: Phase | None = None
    step: int | None = None
    total_steps: int | None = None
    done: int | None = None
    longest_step: float | None = None
    cache_files: int | None = None
    output_bytes: int | None = None
    log_bytes: int = 0
    disk_free: int | None = None


class Files:
    """The looks at one attempt's files."""

    def __init__(self, folder: JobFolder, progress: AttemptProgress, *, trainer: Path | None) -> None:
        """`trainer`: where the trainer of the attempt lies; None if it is a program of the user's."""
        self._folder = folder
        self._trainer = trainer
        self._told = progress
        self._written = Written()

    def look(self) -> Seen:
        self._told.read()
        progress = self._told.progress
        return Seen(
            phase=progress.phase if progress is not None else self._untold(),
            step=progress.step if progress is not None else None,
            total_steps=progress.total_steps if progress is not None else None,
            done=self._told.work,
            longest_step=self._told.longest_step,
            cache_files=count_caches(self._folder.dataset),
            output_bytes=self._written.bytes_after(outputs(self._folder.path)),
            log_bytes=_size(self._folder.log),
            disk_free=_free(self._folder.path),
        )

    def _untold(self) -> Phase | None:
        """A trainer that would tell what it does, and has told nothing since its start, is starting."""
        return Phase.STARTING if self._trainer is not None and kohya.is_understood(self._trainer) else None


class Written:
    """How much was written into files, by their sizes: it only grows, though old files are deleted."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._bytes = 0

    def bytes_after(self, files: Iterator[os.stat_result]) -> int:
        """A file is known by its inode, so that one which gets its final name is not counted twice."""
        sizes: dict[int, int] = {}
        for file in files:
            before = self._sizes.get(file.st_ino, 0)
            # One that is shorter than before is another.
            self._bytes += file.st_size - before if file.st_size >= before else file.st_size
            sizes[file.st_ino] = file.st_size
        self._sizes = sizes
        return self._bytes


def count_caches(dataset: Path) -> int | None:
    """Cache files beside the pictures (trainers.md 1.7). None: it cannot be told."""
    try:
        with os.scandir(dataset) as entries:
            return sum(entry.name.endswith(ENDINGS) for entry in islice(entries, MOST_FILES))
    except FileNotFoundError:
        return 0
    except OSError:
        return None


def outputs(home: Path) -> Iterator[os.stat_result]:
    """LoRAs, and what is in the folders beside them: states, half ones too, and samples."""
    for entry in _entries(home):
        inside = [entry] if entry.name.endswith(OUTPUTS) else []
        if _is_folder(entry) and entry.name not in NO_OUTPUTS:
            inside = _entries(Path(entry.path))
        for file in inside:
            with suppress(OSError):  # a trainer renames and deletes while we look
                yield file.stat(follow_symlinks=False)


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """Empty if it has gone."""
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, MOST_FILES))
    except OSError:
        return []


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    with suppress(OSError):
        return entry.is_dir(follow_symlinks=False)
    return False


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _free(path: Path) -> int | None:
    with suppress(OSError):
        volume = os.statvfs(path)
        return volume.f_bavail * volume.f_frsize
    return None
