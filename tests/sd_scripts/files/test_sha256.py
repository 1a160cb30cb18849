# SPDX-License-Identifier: Apache-2.0
"""The SHA-256 of a large file is computed once for each version of it, and --plan never waits for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from library.files import sha256
from library.files.sha256 import file_sha256, known_sha256


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as large, in an account where none was hashed before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sha256, "REMEMBERED_FROM_BYTES", 10)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"a large model")
    return file


def test_it_is_remembered_for_this_version_of_the_file(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_sha256(large) is None
    first = file_sha256(large)
    assert first == hashlib.sha256(b"a large model").hexdigest() == known_sha256(large)
    with monkeypatch.context() as never:
        never.setattr(sha256, "_sha256", lambda _: pytest.fail("it was hashed again"))
        assert file_sha256(large) == first
    large.write_bytes(b"another large model")
    assert known_sha256(large) is None
    assert file_sha256(large) == hashlib.sha256(b"another large model").hexdigest()


def test_a_small_file_is_always_known(large: Path) -> None:
    large.write_bytes(b"small")
    assert known_sha256(large) == file_sha256(large) == hashlib.sha256(b"small").hexdigest()
    assert not (large.parent / "cache").exists()


def test_without_a_writable_cache_it_is_hashed_each_time(large: Path) -> None:
    (large.parent / "cache").write_text("not a folder")
    assert file_sha256(large) == file_sha256(large) == hashlib.sha256(b"a large model").hexdigest()
    assert known_sha256(large) is None
