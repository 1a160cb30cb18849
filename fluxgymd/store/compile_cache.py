# SPDX-License-Identifier: Apache-2.0
"""The cache of code that PyTorch and Triton have compiled, kept below the home for the next training. Its size is
limited.

Trainings load code from this folder, so no other user may own it. PyTorch's default is `torchinductor_USER` in the
temporary directory, a name that anybody can take first (docs/decisions/0072-temporary-files.md).
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"
TRITON = "TRITON_CACHE_DIR"


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedFile:
    """A file of the cache."""

    path: str
    size: int
    """Bytes on the disk."""
    used: float
    """When it was last read or written (seconds since the epoch), as far as the file system records that."""


def folder(home: Path) -> Path:
    return home / "cache" / "torchinductor"


def variables(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that point the libraries to the cache. Empty if the user has chosen a folder."""
    if environ.get(INDUCTOR):
        return {}
    place = folder(home)
    return {INDUCTOR: str(place), TRITON: environ.get(TRITON) or str(place / "triton")}


def prepare(place: Path) -> str | None:
    """Creates the folder. Returns one sentence that says why no code may be loaded from it, or None if it may be.
    Blocks."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = place.stat()
    except OSError as error:
        return f"The folder for compiled code {place} cannot be used: {error.strerror}."
    if found.st_uid not in (os.getuid(), 0):
        return f"The folder for compiled code {place} belongs to user {found.st_uid}, so nothing is loaded from it."
    if found.st_mode & stat.S_IWOTH:
        return f"Every user may write to the folder for compiled code {place}, so nothing is loaded from it."
    return None


def trim(place: Path, limit: float) -> int:
    """Deletes the least recently used files until the rest takes at most `limit` bytes. Returns the number of deleted
    files. Blocks.

    Call it only while no training runs. PyTorch recompiles just the missing files (measured with torch 2.13).
    """
    surplus = oldest(_kept(place), limit)
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


def _kept(place: Path) -> Iterator[CachedFile]:
    """Lists the files of the cache. Does not follow links, since their targets are not part of the cache."""
    for path, _, names in os.walk(place):
        for name in names:
            file = os.path.join(path, name)
            with suppress(OSError):
                found = os.lstat(file)
                yield CachedFile(path=file, size=found.st_blocks * 512, used=max(found.st_atime, found.st_mtime))
