# SPDX-License-Identifier: Apache-2.0
"""Replaces files so that a crash leaves the old or the new content, never a part: write, fsync, rename, fsync the
folder (Pillai et al., All File Systems Are Not Created Equal, OSDI 2014)."""

import os
from contextlib import suppress
from pathlib import Path

from fluxgym.files import open_file
from fluxgymd.failpoints import failpoint


def write_file(path: Path, data: bytes) -> None:
    """Replaces a file durably. After an OSError the old file is unchanged, unless the fsync of the folder failed."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
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
    """Writes all of the data, or raises OSError. A full disk may accept a part before it refuses."""
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
