# SPDX-License-Identifier: Apache-2.0
"""Compiled code below the home, and whose it must be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fluxgymd.store.caches import compile_cache
from fluxgymd.store.caches.compile_cache import prepare, variables


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
