# SPDX-License-Identifier: Apache-2.0
"""How much space the files of a home take on its disks."""

import os
from collections import Counter
from pathlib import Path

from fluxgym.protocol.machine_messages import DiskUseKind
from fluxgymd.store.disk_walk import places, walk


def write(path: Path, size: int = 100_000) -> int:
    """Returns how many bytes the file takes on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    os.sync()
    return path.stat().st_blocks * 512


def test_each_file_counts_once_under_its_kind(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    state = write(home / "outputs/cat/cat-000001-state/optimizer.bin")
    cache = write(home / "cache/encoded/1.npz")
    picture = write(home / "datasets/cats/1.png")
    other = write(elsewhere / "compiled/x")
    folder = home / "outputs/cat/dataset"
    folder.mkdir()
    os.link(home / "cache/encoded/1.npz", folder / "1_flux.npz")
    os.link(home / "datasets/cats/1.png", folder / "1.png")
    (home / "outputs/cat/link").symlink_to(elsewhere)
    seen: set[int] = set()
    total: Counter[DiskUseKind] = Counter()
    of_jobs: Counter[str] = Counter()
    for place in places(home, [elsewhere, home / "cache/encoded"]):
        for (_, kind), size in walk(place, seen).items():
            total[kind] += size
            if place.job is not None:
                of_jobs[place.job] += size
    assert +total == {
        DiskUseKind.STATES: state,
        DiskUseKind.CACHES: cache + other,
        DiskUseKind.PICTURES: picture,
    }
    assert +of_jobs == {"cat": state}, "what a job shares is not freed with the job"
