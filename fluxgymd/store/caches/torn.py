# SPDX-License-Identifier: Apache-2.0
"""The caches beside a job's pictures, before an attempt.

Those that a kill left half-written are removed; they are recognized by their ZIP directory.
sd-scripts writes its npz files under their final names and reads them without a check, so a torn one ends the
training; our trainer makes it again (docs/decisions/0040-resume.md).
"""

import os
import shutil
import stat
from pathlib import Path

from fluxgymd.store.formats.zip_file import is_whole

ENDINGS = ("_flux.npz", "_flux_te.npz")
HALF_WRITTEN = tuple(f"{ending}.tmp" for ending in ENDINGS)
"""Our trainer writes under these names before it renames."""


def remove_torn(dataset: Path) -> list[str]:
    """Removes torn caches and returns their names. No trainer may run on the dataset meanwhile. Raises OSError."""
    removed = []
    for name in _names(dataset):
        if name.endswith(HALF_WRITTEN) or (name.endswith(ENDINGS) and not is_whole(dataset / name)):
            (dataset / name).unlink()
            removed.append(name)
    return removed


def unshare(dataset: Path) -> None:
    """Replaces the caches that a training has shared with others, by hard links, with copies that may be written to.
    A link may be writable: somebody may have changed the modes in the job's folder. Likewise; raises OSError."""
    for name in _names(dataset):
        file = dataset / name
        if not name.endswith(ENDINGS):
            continue
        found = file.stat()
        if found.st_nlink > 1 or not found.st_mode & stat.S_IWUSR:
            copy = dataset / f"{name}.tmp"
            shutil.copyfile(file, copy)
            copy.replace(file)


def _names(dataset: Path) -> list[str]:
    """The sorted names of the files; none if there is no such folder."""
    try:
        with os.scandir(dataset) as entries:
            return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except FileNotFoundError:
        return []
