# SPDX-License-Identifier: Apache-2.0
"""Measures how much space the files below a folder take on each disk. Everything here blocks."""

import os
import stat
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fluxgym.protocol.machine_messages import DiskUseKind
from fluxgymd.core.disk.disk_use import kind_of
from fluxgymd.store.room import room_of

AT_A_TIME = 200
"""How many files are examined between two pauses."""
SHARE = 0.25
"""The share of its time that a walk works; the rest of the time it pauses, so as not to slow anything else down."""

Uses = Counter[tuple[int, DiskUseKind]]
"""Bytes by device and kind of file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A folder or file that is measured separately, since it may be on a volume that hangs."""

    path: str
    parts: tuple[str, ...]
    """Its path in the home, which says what it holds."""
    job: str | None = None


def places(home: Path, caches: Sequence[Path]) -> list[Place]:
    """The places to measure: each job, each dataset, every other entry of the home, and caches elsewhere. Jobs come
    last, so that files that they share with a dataset or a cache count there."""
    shared: list[Place] = []
    jobs: list[Place] = []
    for name in sorted(os.listdir(home)):
        if name not in ("outputs", "datasets"):
            shared.append(Place(path=str(home / name), parts=(name,)))
            continue
        with suppress(OSError):
            for inner in sorted(os.listdir(home / name)):
                job = inner if name == "outputs" and not inner.startswith(".") else None
                place = Place(path=str(home / name / inner), parts=(name, inner), job=job)
                (jobs if name == "outputs" else shared).append(place)
    shared += [Place(path=str(path), parts=("cache",)) for path in caches if not path.is_relative_to(home)]
    return [*shared, *jobs]


def walk(place: Place, seen: set[int]) -> Uses:
    """The disk use of a place. `seen`: files with several hard links that were already counted; each counts once.

    Links are not followed, except for the place itself. A file's disk is that of its folder: overlayfs may report
    another device for a file.
    """
    uses: Uses = Counter()
    pacer = _Pacer()
    with suppress(OSError):
        top = os.stat(place.path)
        if not stat.S_ISDIR(top.st_mode):
            above = os.stat(os.path.dirname(place.path))
            uses[above.st_dev, kind_of(place.parts)] += _size(top, seen)
            return uses
    for folder, _, names in os.walk(place.path):
        inner = os.path.relpath(folder, place.path)
        parts = place.parts if inner == "." else (*place.parts, *inner.split(os.sep))
        with suppress(OSError):
            device = os.stat(folder).st_dev
            for name in names:
                with suppress(OSError):  # deleted in the meantime
                    uses[device, kind_of((*parts, name))] += _size(os.lstat(os.path.join(folder, name)), seen)
                pacer.step()
    return uses


def device_of(path: str) -> int:
    return os.stat(path).st_dev


def total_and_free(path: str) -> tuple[int, int]:
    """Bytes of the disk that holds the path. Raises OSError."""
    disk = os.statvfs(path)
    return disk.f_blocks * disk.f_frsize, room_of(disk, root=os.geteuid() == 0).free


def _size(found: os.stat_result, seen: set[int]) -> int:
    """Bytes on the disk; 0 for a file that was already counted."""
    if found.st_nlink > 1:
        number = found.st_dev << 64 | found.st_ino
        if number in seen:
            return 0
        seen.add(number)
    return found.st_blocks * 512


class _Pacer:
    def __init__(self) -> None:
        self._began = time.monotonic()
        self._files = 0

    def step(self) -> None:
        """Pauses if it is time to. To be called for each file."""
        self._files += 1
        if self._files % AT_A_TIME == 0:
            time.sleep((time.monotonic() - self._began) * (1 - SHARE) / SHARE)
            self._began = time.monotonic()
