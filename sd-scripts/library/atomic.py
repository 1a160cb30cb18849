# SPDX-License-Identifier: Apache-2.0
"""Writes files and directories that are either complete or missing: under a temporary name, fsynced, then renamed,
and the parent fsynced.

An existing directory is replaced by way of `X.old`, because network volumes lack RENAME_EXCHANGE (issue 5): at every
moment `X` or `X.old` is complete, and a reader takes `X.old` if `X` is missing (`existing_directory`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def write_file(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Lets `write` fill `path` + `.tmp`, then renames that file to `path`. `durable` adds the fsyncs.

    If `write` raises, the temporary file is removed, an older `path` stays as it is, and the exception propagates.
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
    """Lets `fill` write into the directory `path` + `.tmp`, fsyncs it, and renames it to `path`.

    The directory and its direct entries are fsynced; for files in subdirectories, `fill` has to do that. If `fill`
    raises, the temporary directory is removed, an older `path` stays, and the exception propagates.
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
    """`path`, or `path` + `.old` if a replacement was interrupted, or None if neither exists."""
    for candidate in (path, old_of(path)):
        if candidate.is_dir():
            return candidate
    return None


def recover_directory(path: Path) -> None:
    """Renames `.old` back to `path` if it is the only copy, and otherwise removes it."""
    old = old_of(path)
    if not old.exists():
        return
    if path.exists():
        shutil.rmtree(old)
    else:
        os.rename(old, path)


def remove_directory(path: Path) -> None:
    """Removes a directory, or the `.old` in its place. It is renamed to `.tmp` first, so that a reader never sees it
    partly removed."""
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
    """Fsyncs a file or a directory. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
