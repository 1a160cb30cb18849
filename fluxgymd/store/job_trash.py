# SPDX-License-Identifier: Apache-2.0
"""The removed jobs of a home: folders in outputs/.trash/, named NAME@MILLISECONDS@ID after the job and the time of
its removal. A job moves there and back by one rename, so after a crash it is complete, in one place or the other.

All functions block and raise OSError.
"""

import errno
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluxgym.files import read_file
from fluxgymd.core.disk.trash import Ages
from fluxgymd.core.journal.decoding import decode
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import sync_folder, write_file

TRASH = ".trash"
DOOMED = ".trash-"
"""The prefix of a folder under outputs/ that is being deleted. The next start deletes what is left."""
AGES = "ages.json"
AGES_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class RemovedFolder:
    """A removed job."""

    name: str
    id: str
    removed_at: float
    path: Path


class JobTrash:
    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs
        self.path = outputs / TRASH

    def put(self, folder: Path, job_id: str, *, now: float) -> RemovedFolder | None:
        """Moves a job's folder to the trash, durably; returns None if somebody has deleted it by hand."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        stamp = round(now * 1000)
        target = self.path / f"{folder.name}@{stamp}@{job_id}"
        try:
            folder.rename(target)
        except FileNotFoundError:
            return None
        failpoint("remove.renamed")
        sync_folder(self.path)
        sync_folder(self._outputs)
        failpoint("remove.durable")
        return RemovedFolder(name=folder.name, id=job_id, removed_at=stamp / 1000, path=target)

    def entries(self) -> list[RemovedFolder]:
        """The removed jobs, the most recent first."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                name, _, rest = entry.name.partition("@")
                stamp, at, job_id = rest.partition("@")
                if at and stamp.isascii() and stamp.isdigit() and len(stamp) < 16:
                    removed_at = int(stamp) / 1000
                    found.append(RemovedFolder(name=name, id=job_id, removed_at=removed_at, path=Path(entry.path)))
        return sorted(found, key=lambda one: (one.removed_at, one.name, one.id), reverse=True)

    def restore(self, removed: RemovedFolder) -> Path:
        """Moves a job back, durably. FileExistsError if its name has been taken since."""
        target = self._outputs / removed.name
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        failpoint("restore.begins")
        try:
            removed.path.rename(target)
        except OSError as error:  # somebody has created it since the check above
            if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
            raise
        failpoint("restore.renamed")
        sync_folder(self._outputs)
        sync_folder(self.path)
        failpoint("restore.durable")
        return target

    def delete(self, removed: RemovedFolder) -> None:
        """Deletes a removed job for good. The trash never contains a partly deleted job."""
        doomed = self._outputs / f"{DOOMED}{secrets.token_hex(8)}"
        removed.path.rename(doomed)
        failpoint("trash.renamed")
        sync_folder(self.path)
        sync_folder(self._outputs)
        failpoint("trash.durable")
        shutil.rmtree(doomed, ignore_errors=True)
        failpoint("trash.deleted")

    def ages(self) -> Ages | None:
        """How long the jobs have been here; None if that is unknown."""
        try:
            return decode(read_file(self.path / AGES, most=AGES_BYTES), Ages)
        except (OSError, msgspec.MsgspecError):
            return None

    def write_ages(self, ages: Ages) -> None:
        write_file(self.path / AGES, msgspec.json.encode(ages))
