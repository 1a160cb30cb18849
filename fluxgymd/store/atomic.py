# SPDX-License-Identifier: Apache-2.0
"""Files that are old or new after a crash, never half: write, fsync, rename, fsync of the folder (ALICE, OSDI 14)."""

import os
from contextlib import suppress
from pathlib import Path

from fluxgymd.failpoints import failpoint


def write_file(path: Path, data: bytes) -> None:
    """Replaces a file. OSError leaves the old one as it was."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            failpoint("file.opened")
            write_all(descriptor, data)
            failpoint("file.written")
            os.fsync(descriptor)
            failpoint("file.synced")
        finally:
            os.close(descriptor)
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    failpoint("file.renamed")
    sync_folder(path.parent)
    failpoint("file.durable")


def write_all(descriptor: int, data: bytes) -> None:
    """All of it, or OSError: a full disk may take a part first."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
