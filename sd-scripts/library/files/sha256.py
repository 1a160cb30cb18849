# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of files. Those of large files are remembered on the disk. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from library import atomic, environment

# Smaller files are hashed each time, which takes next to no time.
REMEMBERED_FROM_BYTES = 64 * 2**20


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex. For large files it is cached on disk by (path, inode, size, times).

    flux1-dev has 23.8 GB, so hashing it at each start would cost a full read and tens of seconds.
    """
    key = _key(path)
    if key is None:
        return _sha256(path)
    remembered = _read_remembered()
    if key not in remembered:
        remembered[key] = _sha256(path)
        _write_remembered(remembered)
    return remembered[key]


def known_sha256(path: Path) -> str | None:
    """The same, but None for a large file that was not hashed yet: --plan must answer soon."""
    key = _key(path)
    return _sha256(path) if key is None else _read_remembered().get(key)


def _key(path: Path) -> str | None:
    """What the hash of a large file is remembered by; None for a small one."""
    path = path.resolve()
    status = path.stat()
    if status.st_size < REMEMBERED_FROM_BYTES:
        return None
    return f"{path}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remembered_path() -> Path | None:
    base = environment.user_cache()
    return None if base is None else base / "model-sha256.json"


def _read_remembered() -> dict[str, str]:
    path = _remembered_path()
    try:
        found = None if path is None else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _write_remembered(remembered: Mapping[str, str]) -> None:
    """Writes the cache. Errors are ignored, since a missing cache only costs time at the next start."""
    path = _remembered_path()
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_file(path, lambda part: _dump(part, remembered), durable=False)
    except OSError:
        pass


def _dump(path: Path, remembered: Mapping[str, str]) -> None:
    path.write_text(json.dumps(remembered, indent=1), encoding="utf-8")
