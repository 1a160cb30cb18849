# SPDX-License-Identifier: Apache-2.0
"""Puts files into the store of pictures: durable, read-only, and never half of one under its name.

Each importer writes into a folder of its own, which it holds locked; a file gets its name in the store by a rename.
Several importers may write the same picture: the bytes under a name are always the same. What a killed importer left
is removed by the next one, which gets the lock.
"""

import errno
import fcntl
import itertools
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from fluxgymd.failpoints import failpoint
from fluxgymd.pictures.new_files import write_new
from fluxgymd.store.atomic import sync_folder
from fluxgymd.store.pictures import file_in

INCOMING = ".incoming-"
READ_ONLY = 0o444


class NotPlaced(Exception):
    """The disk of the store refuses a write. The message is a sentence."""


class Incoming:
    """The way into a store, for several threads. Raises NotPlaced."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._numbers = itertools.count()
        self._folder, self._lock = store, -1

    def __enter__(self) -> Self:
        try:
            self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(self._store.parent)
            self._remove_leftovers()
            self._folder, self._lock = self._own_folder()
        except OSError as error:
            raise self._refused(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        with suppress(OSError):
            shutil.rmtree(self._folder)
        os.close(self._lock)

    def place(self, data: bytes, sha256: str, ending: str) -> None:
        """Stores a file, unless the store has it. It is durable afterwards."""
        target = file_in(self._store, sha256, ending)
        try:
            self._place(data, target)
        except OSError as error:
            raise self._refused(error) from None

    def _place(self, data: bytes, target: Path) -> None:
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._store)
        if not _has_size(target, len(data)):
            temporary = self._folder / str(next(self._numbers))
            write_new(temporary, data)
            failpoint("import.file_written")
            temporary.chmod(READ_ONLY)
            temporary.rename(target)
            failpoint("import.file_renamed")
        sync_folder(target.parent)  # also if another importer has just renamed it
        failpoint("import.file_durable")

    def _own_folder(self) -> tuple[Path, int]:
        """A new folder that no other importer takes for a leftover, and its lock."""
        while True:
            folder = self._store / f"{INCOMING}{secrets.token_hex(8)}"
            folder.mkdir(mode=0o700)
            failpoint("import.folder_made")
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            locked = _lock(descriptor)
            if locked is None or (locked and folder.exists()):
                return folder, descriptor
            os.close(descriptor)  # another importer took it for a leftover, before it was locked

    def _remove_leftovers(self) -> None:
        for folder in self._store.glob(f"{INCOMING}*"):
            with suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    if _lock(descriptor):
                        shutil.rmtree(folder)
                        failpoint("import.leftover_removed")
                finally:
                    os.close(descriptor)

    def _refused(self, error: OSError) -> NotPlaced:
        advice = "; make room and import again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        why = (error.strerror or type(error).__name__).lower()
        return NotPlaced(f"The store of pictures, {self._store}, cannot be written to: {why}{advice}.")


def _lock(descriptor: int) -> bool | None:
    """Whether the lock was free, and is now held until the descriptor is closed; None on a volume without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False
