# SPDX-License-Identifier: Apache-2.0
"""Files and directories that are whole or not there: written beside their name, fsynced, renamed, parent fsynced.

A directory that exists is replaced through `X.old`, because network volumes lack RENAME_EXCHANGE (issue 5): at
every instant `X` or `X.old` is whole, and a reader takes `X.old` where `X` is missing (`existing_directory`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def write_file(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Lets `write` fill `path` + `.tmp`, then gives it its name. `durable` adds the fsyncs.

    Raises what `write` raises; the temporary file is removed then, and an older `path` is untouched.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        write(temporary)
        if durable:
            fsync_path(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        fsync_path(path.parent)


def write_directory(path: Path, fill: Callable[[Path], None]) -> None:
    """Lets `fill` write files into `path` + `.tmp`, fsyncs all of it and gives it its name.

    Raises what `fill` raises; the temporary directory is removed then, and an older `path` stays.
    """
    temporary, old = temporary_of(path), old_of(path)
    recover_directory(path)
    if temporary.exists():
        shutil.rmtree(temporary)
    try:
        temporary.mkdir()
        fill(temporary)
        for file in sorted(temporary.iterdir()):
            fsync_path(file)
        fsync_path(temporary)
        if path.exists():
            os.rename(path, old)
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        recover_directory(path)
        raise
    fsync_path(path.parent)
    if old.exists():
        shutil.rmtree(old)


def existing_directory(path: Path) -> Path | None:
    """`path`, or `path` + `.old` where a replacement was cut short, or None where neither is there."""
    for candidate in (path, old_of(path)):
        if candidate.is_dir():
            return candidate
    return None


def recover_directory(path: Path) -> None:
    """Gives an `.old` that is the only copy its name back, and removes one that is not."""
    old = old_of(path)
    if not old.exists():
        return
    if path.exists():
        shutil.rmtree(old)
    else:
        os.rename(old, path)


def remove_directory(path: Path) -> None:
    """Removes a directory, or the `.old` in its place, without ever showing a half under a name that is read."""
    recover_directory(path)
    temporary = temporary_of(path)
    if temporary.exists():
        shutil.rmtree(temporary)
    os.rename(path, temporary)
    shutil.rmtree(temporary)


def temporary_of(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")


def old_of(path: Path) -> Path:
    return path.with_name(path.name + ".old")


def fsync_path(path: Path) -> None:
    """fsync of a file or a directory. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
