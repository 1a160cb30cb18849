# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of files, and the two hashes in a LoRA's metadata by which other tools identify it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from library import atomic, environment

# Smaller files are hashed each time, which takes next to no time.
REMEMBERED_FROM_BYTES = 64 * 2**20
LEGACY_OFFSET, LEGACY_LENGTH = 0x100000, 0x10000


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex. For large files it is cached on disk by (path, inode, size, times).

    flux1-dev has 23.8 GB, so hashing it at each start would cost a full read and tens of seconds.
    """
    path = path.resolve()
    status = path.stat()
    if status.st_size < REMEMBERED_FROM_BYTES:
        return _sha256(path)
    key = f"{path}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
    remembered = _read_remembered()
    if key not in remembered:
        remembered[key] = _sha256(path)
        _write_remembered(remembered)
    return remembered[key]


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


def legacy_model_hash(path: Path) -> str:
    """The older hash of a model file: 8 hex digits of the SHA-256 of the 64 KiB at offset 1 MiB."""
    with path.open("rb") as file:
        file.seek(LEGACY_OFFSET)
        return hashlib.sha256(file.read(LEGACY_LENGTH)).hexdigest()[:8]


def lora_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[str, str]:
    """(sshs_model_hash, sshs_legacy_hash) of a LoRA.

    Both are computed from the file as it would be with only its `ss_*` metadata. The first skips the header, so it
    depends on the tensors alone.
    """
    training_metadata = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    blob = save(dict(tensors), training_metadata)
    header = int.from_bytes(blob[:8], "little")
    model = hashlib.sha256(memoryview(blob)[8 + header :]).hexdigest()
    legacy = hashlib.sha256(blob[LEGACY_OFFSET : LEGACY_OFFSET + LEGACY_LENGTH]).hexdigest()[:8]
    return model, legacy
