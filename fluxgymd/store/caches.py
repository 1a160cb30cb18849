# SPDX-License-Identifier: Apache-2.0
"""Caches beside the pictures that a kill left half-written: found by their ZIP directory, and removed.

sd-scripts writes its npz files under their own names and reads them without a check, so a torn one ends the training
(trainers.md 1.7); ours makes it again. A directory stands at a file's end and tells each entry's place: with it and
the entries' own headers a file is whole, and no array has to be read.
"""

import os
import zipfile
from pathlib import Path

ENDINGS = ("_flux.npz", "_flux_te.npz")
HALF_WRITTEN = tuple(f"{ending}.tmp" for ending in ENDINGS)
"""Our trainer's own name for what it was writing."""
LOCAL_HEADER = b"PK\x03\x04"


def remove_torn(dataset: Path) -> list[str]:
    """The names of the caches that were removed. No trainer may run on the dataset meanwhile. OSError."""
    removed = []
    try:
        with os.scandir(dataset) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except FileNotFoundError:
        return []
    for name in names:
        if name.endswith(HALF_WRITTEN) or (name.endswith(ENDINGS) and not is_whole(dataset / name)):
            (dataset / name).unlink()
            removed.append(name)
    return removed


def is_whole(path: Path) -> bool:
    """Whether every array is there in full, as far as the directory tells. OSError if the disk does not answer."""
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OverflowError):
            return False
        return bool(entries) and all(
            os.pread(file.fileno(), len(LOCAL_HEADER), entry.header_offset) == LOCAL_HEADER for entry in entries
        )
