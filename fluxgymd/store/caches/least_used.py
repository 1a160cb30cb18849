# SPDX-License-Identifier: Apache-2.0
"""Keeps a folder within a limit: the files that were used least recently are deleted first."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedFile:
    """A file of a cache."""

    path: str
    size: int
    """Bytes on the disk."""
    used: float
    """When it was last read or written (seconds since the epoch), as far as the file system records that."""


def trim(place: Path, limit: float, *, shared: bool = False) -> int:
    """Deletes the least recently used files until the rest takes at most `limit` bytes, and then empty folders.
    Returns the number of deleted files. Blocks.

    `shared`: a file may also be in other folders, by hard links. While it is, it is left out: to delete it here would
    free nothing.
    """
    surplus = oldest(_files(place, shared=shared), limit)
    for file in surplus:
        with suppress(OSError):
            os.unlink(file.path)
    if surplus:
        for path, _, _ in os.walk(place, topdown=False):
            if path != str(place):
                with suppress(OSError):  # not empty
                    os.rmdir(path)
    return len(surplus)


def oldest(files: Iterable[CachedFile], limit: float) -> list[CachedFile]:
    """The least recently used files that have to go, so that the others take at most `limit` bytes."""
    files = sorted(files, key=lambda file: file.used)
    total = sum(file.size for file in files)
    surplus = []
    for file in files:
        if total <= limit:
            break
        surplus.append(file)
        total -= file.size
    return surplus


def _files(place: Path, *, shared: bool) -> Iterator[CachedFile]:
    """Does not follow links, since their targets are not part of the cache."""
    for path, _, names in os.walk(place):
        for name in names:
            file = os.path.join(path, name)
            with suppress(OSError):
                found = os.lstat(file)
                if not (shared and found.st_nlink > 1):
                    yield CachedFile(path=file, size=found.st_blocks * 512, used=max(found.st_atime, found.st_mtime))
