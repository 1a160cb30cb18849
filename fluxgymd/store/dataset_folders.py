# SPDX-License-Identifier: Apache-2.0
"""The folders of the datasets, in `datasets/` of the home: how one appears, is removed, comes back, and is deleted.

A stored dataset is a folder with a journal. A folder without one belongs to the user, and nothing is written to it
before its first change. A removed dataset is a folder in `.trash/`, named NAME@MILLISECONDS; nothing of it is deleted
before it is purged.
"""

import errno
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fluxgymd.core.datasets.events import Created
from fluxgymd.core.journal.events import encode
from fluxgymd.failpoints import failpoint
from fluxgymd.store.atomic import sync_folder, write_file
from fluxgymd.store.home import JOURNAL

TRASH = ".trash"
NEW = ".new-"
GONE = ".gone-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """A dataset in the trash."""

    name: str
    removed_at: float
    path: Path


class DatasetFolders:
    """All methods block and raise OSError."""

    def __init__(self, home: Path) -> None:
        self.path = home / "datasets"
        self._trash = self.path / TRASH
        self._making = threading.Lock()
        """Held while a folder is built or deleted under a name of its own, so that any other such folder was left by
        a crash."""
        self._moving = threading.Lock()
        """Held while a dataset moves to the trash or back."""

    def folder(self, name: str) -> Path:
        return self.path / name

    def names(self) -> list[str]:
        """The names of all datasets, sorted; also of folders whose name no dataset can have."""
        try:
            with os.scandir(self.path) as entries:
                return sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())
        except FileNotFoundError:
            return []

    def create(self, name: str, created: Created) -> Path:
        """Creates an empty stored dataset, durably. FileExistsError if the name is taken."""
        target = self.folder(name)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        self.path.mkdir(mode=0o700, exist_ok=True)
        with self._making:
            _sweep(self.path, NEW)
            built = self.path / f"{NEW}{created.id}"
            built.mkdir(mode=0o700)
            try:
                write_file(built / JOURNAL, encode(created))
                failpoint("stored.built")
                built.rename(target)
            except BaseException:
                shutil.rmtree(built, ignore_errors=True)
                raise
        failpoint("stored.created")
        self._sync()
        return target

    def remove(self, name: str, *, now: float) -> Removed:
        """Moves a dataset to the trash, durably, and returns it."""
        self._trash.mkdir(mode=0o700, exist_ok=True)
        stamp = round(now * 1000)
        with self._moving:
            while os.path.lexists(target := self._trash / f"{name}@{stamp}"):
                stamp += 1
            self.folder(name).rename(target)
        failpoint("stored.removed")
        sync_folder(self._trash)
        self._sync()
        return Removed(name=name, removed_at=stamp / 1000, path=target)

    def trash(self) -> list[Removed]:
        """The removed datasets, the last one first."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self._trash) as entries:
            for entry in entries:
                name, at, stamp = entry.name.rpartition("@")
                if at and stamp.isascii() and stamp.isdigit() and len(stamp) < 16:
                    found.append(Removed(name=name, removed_at=int(stamp) / 1000, path=Path(entry.path)))
        return sorted(found, key=lambda one: (one.removed_at, one.name), reverse=True)

    def restore(self, removed: Removed) -> None:
        """Moves a dataset back, durably. FileExistsError if its name was taken since."""
        target = self.folder(removed.name)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        with self._moving:
            removed.path.rename(target)
        failpoint("stored.restored")
        self._sync()
        sync_folder(self._trash)

    @contextmanager
    def every(self) -> Iterator[list[Path]]:
        """The paths of all datasets, those in the trash included. None of them moves in the `with` block, so none is
        missed. Also a link that leads nowhere, such as to a volume that is not mounted: there may be a dataset."""
        with self._moving:
            names = self.names()
            with suppress(FileNotFoundError), os.scandir(self.path) as entries:
                names += [one.name for one in entries if one.name[0] != "." and one.is_symlink() and not one.is_dir()]
            yield [*map(self.folder, names), *(removed.path for removed in self.trash())]

    def purge(self, removed: Removed) -> None:
        """Deletes a removed dataset for good. At no time is a part of it in the trash under its own name."""
        with self._making:
            removed.path.rename(self._trash / f"{GONE}{secrets.token_hex(8)}")
            sync_folder(self._trash)
            failpoint("stored.purged")
            _sweep(self._trash, GONE)

    def _sync(self) -> None:
        sync_folder(self.path)
        sync_folder(self.path.parent)


def _sweep(folder: Path, beginning: str) -> None:
    """Deletes the folders whose names begin like this."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(beginning):
                shutil.rmtree(entry.path, ignore_errors=True)
