# SPDX-License-Identifier: Apache-2.0
"""Renames broken checkpoints, and deletes those that retention selects."""

import shutil
from os import scandir
from pathlib import Path

from fluxgymd.core.resume import aside_name
from fluxgymd.store.atomic import sync_folder


def set_aside(path: Path) -> str:
    """Renames a broken checkpoint durably, so that neither a trainer nor the daemon resumes from it. Returns the new
    name."""
    with scandir(path.parent) as entries:
        name = aside_name(path.name, [entry.name for entry in entries])
    path.rename(path.with_name(name))
    sync_folder(path.parent)
    return name


def delete(path: Path) -> None:
    """Deletes a checkpoint. At no time does a part of it exist under its own name."""
    doomed = path.with_name(f"{path.name}.tmp")  # our trainer's name for a folder that is not a complete state
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)
