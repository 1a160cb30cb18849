# SPDX-License-Identifier: Apache-2.0
"""Compiled code below the home: its owner, and what is deleted when there is too much of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fluxgymd.store import compile_cache
from fluxgymd.store.compile_cache import CachedFile, oldest, prepare, trim, variables

KIB = 1024


def test_the_libraries_are_configured_unless_the_user_has_chosen() -> None:
    home = Path("/h")
    place = "/h/cache/torchinductor"
    assert variables(home, {}) == {"TORCHINDUCTOR_CACHE_DIR": place, "TRITON_CACHE_DIR": f"{place}/triton"}
    assert variables(home, {"TRITON_CACHE_DIR": "/t"})["TRITON_CACHE_DIR"] == "/t"
    assert variables(home, {"TORCHINDUCTOR_CACHE_DIR": "/mine"}) == {}


def test_it_is_created_for_this_user_only(tmp_path: Path) -> None:
    place = compile_cache.folder(tmp_path)
    assert prepare(place) is None
    assert prepare(place) is None
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_folder_where_others_put_code_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = compile_cache.folder(tmp_path)
    place.parent.mkdir()
    place.touch()
    assert prepare(place) == f"The folder for compiled code {place} cannot be used: File exists."
    place.unlink()
    place.mkdir()
    place.chmod(0o777)
    assert str(prepare(place)).startswith("Every user may write to the folder for compiled code")
    place.chmod(0o700)
    if os.getuid() == 0:
        os.chown(place, 65534, 65534)
    else:
        monkeypatch.setattr(os, "getuid", lambda: place.stat().st_uid + 1)
    assert " belongs to user " in str(prepare(place))


@pytest.mark.parametrize(
    ("limit", "gone"),
    [(6, []), (5.9, ["a"]), (5, ["a"]), (3, ["a", "b"]), (2.5, ["a", "b", "c"]), (0, ["a", "b", "c"])],
)
def test_the_least_recently_used_code_is_deleted_first(limit: float, gone: list[str]) -> None:
    files = [
        CachedFile(path=name, size=size, used=used) for name, size, used in (("c", 3, 30), ("a", 1, 10), ("b", 2, 20))
    ]
    assert [file.path for file in oldest(files, limit)] == gone


def test_the_rest_is_kept_and_empty_folders_are_deleted(tmp_path: Path) -> None:
    place = compile_cache.folder(tmp_path)
    prepare(place)
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
    place = compile_cache.folder(tmp_path)
    prepare(place)
    for name, read in (("read", 2e9), ("not-read", 1e9)):
        (place / name).write_bytes(b"x" * 64 * KIB)
        os.utime(place / name, (read, 1e9))
    assert trim(place, 100 * KIB) == 1
    assert (place / "read").exists()
