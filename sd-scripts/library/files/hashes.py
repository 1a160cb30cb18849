# SPDX-License-Identifier: Apache-2.0
"""The hashes in a LoRA's metadata by which other tools identify it and its base model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

LEGACY_OFFSET, LEGACY_LENGTH = 0x100000, 0x10000


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
