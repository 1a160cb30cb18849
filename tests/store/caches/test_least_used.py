# SPDX-License-Identifier: Apache-2.0
"""What is deleted from a folder that has become too large."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fluxgymd.store.caches.least_used import CachedFile, oldest, trim

KIB = 1024


@pytest.mark.parametrize(
    ("limit", "gone"),
    [(6, []), (5.9, ["a"]), (5, ["a"]), (3, ["a", "b"]), (2.5, ["a", "b", "c"]), (0, ["a", "b", "c"])],
)
def test_the_least_recently_used_files_are_deleted_first(limit: float, gone: list[str]) -> None:
    files = [
        CachedFile(path=name, size=size, used=used) for name, size, used in (("c", 3, 30), ("a", 1, 10), ("b", 2, 20))
    ]
    assert [file.path for file in oldest(files, limit)] == gone


def test_the_rest_is_kept_and_empty_folders_are_deleted(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    place.mkdir()
    (outside := tmp_path / "outside").write_bytes(b"x" * 64 * KIB)
    for age, name in enumerate(("new/a.so", "old/b.so", "oldest/c.so")):
        (file := place / name).parent.mkdir()
        file.write_bytes(b"x" * 64 * KIB)
        os.utime(file, (1e9 - age, 1e9 - age))
    (place / "new" / "link").symlink_to(outside)
    assert trim(place, 100 * KIB) == 2
    assert sorted(path.name for path in place.rglob("*")) == ["a.so", "link", "new"]
    assert outside.exists()
    assert trim(place, 100 * KIB) == 0
    assert trim(place, 0) >= 1
    assert list(place.rglob("*.so")) == []
    assert place.is_dir()


def test_a_recently_read_file_is_not_old(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    place.mkdir()
    for name, read in (("read", 2e9), ("not-read", 1e9)):
        (place / name).write_bytes(b"x" * 64 * KIB)
        os.utime(place / name, (read, 1e9))
    assert trim(place, 100 * KIB) == 1
    assert (place / "read").exists()


def test_a_shared_file_counts_once_no_other_folder_has_it(tmp_path: Path) -> None:
    (place := tmp_path / "cache").mkdir()
    (place / "mine").write_bytes(b"x" * 64 * KIB)
    (place / "also-elsewhere").write_bytes(b"x" * 64 * KIB)
    (tmp_path / "elsewhere").hardlink_to(place / "also-elsewhere")
    assert trim(place, 64 * KIB, shared=True) == 0
    assert trim(place, 0, shared=True) == 1
    assert [path.name for path in place.iterdir()] == ["also-elsewhere"]
    (tmp_path / "elsewhere").unlink()
    assert trim(place, 0, shared=True) == 1
