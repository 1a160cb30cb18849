# SPDX-License-Identifier: Apache-2.0
"""Removes caches beside the pictures that a kill left half-written. They are recognized by their ZIP directory.

sd-scripts writes its npz files under their final names and reads them without a check, so a torn one ends the
training; our trainer makes it again (docs/decisions/0040-resume.md).
"""

import os
from pathlib import Path

from fluxgymd.store.zip_file import is_whole

ENDINGS = ("_flux.npz", "_flux_te.npz")
HALF_WRITTEN = tuple(f"{ending}.tmp" for ending in ENDINGS)
"""Our trainer writes under these names before it renames."""


def remove_torn(dataset: Path) -> list[str]:
    """Removes torn caches and returns their names. No trainer may run on the dataset meanwhile. Raises OSError."""
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
