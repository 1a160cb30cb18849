# SPDX-License-Identifier: Apache-2.0
"""The cache of code that PyTorch and Triton have compiled, kept below the home for the next training. Its size is
limited.

Trainings load code from this folder, so no other user may own it. PyTorch's default is `torchinductor_USER` in the
temporary directory, a name that anybody can take first (docs/decisions/0072-temporary-files.md).
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from fluxgymd.store.caches import least_used

INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"
TRITON = "TRITON_CACHE_DIR"


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
    return least_used.trim(place, limit)
