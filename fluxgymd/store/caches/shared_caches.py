# SPDX-License-Identifier: Apache-2.0
"""The encoded pictures and captions that trainings share (docs/trainer.md, "Caches"), below the home.

A cache that some job still has is the same file there, so it takes no room here. The others are limited.
"""

from collections.abc import Mapping
from pathlib import Path

from fluxgymd.store.caches import least_used

VARIABLE = "FLUXGYM_CACHES"


def folder(home: Path) -> Path:
    return home / "cache" / "encoded"


def variables(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variable that tells the trainer the folder. Empty if the user has chosen one."""
    return {} if environ.get(VARIABLE) else {VARIABLE: str(folder(home))}


def trim(home: Path, limit: float) -> int:
    """Deletes the least recently used caches that no job has, until those left take at most `limit` bytes. Returns
    how many were deleted. A training that wants one at that moment encodes it again. Blocks."""
    return least_used.trim(folder(home), limit, shared=True)
