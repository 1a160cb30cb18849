# SPDX-License-Identifier: Apache-2.0
"""Files as a trainer leaves them: safetensors files and state folders."""

import json
import struct
from pathlib import Path
from typing import Any


def safetensors(shapes: dict[str, list[int]], *, metadata: dict[str, str] | None = None) -> bytes:
    """A whole file of float16 zeros (huggingface.co/docs/safetensors: Format)."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata is not None else {}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    return with_header(json.dumps(header).encode()) + bytes(end)


def with_header(text: bytes) -> bytes:
    """The length and the header, without tensors."""
    return struct.pack("<Q", len(text)) + text


LORA = safetensors({"a.lora_down.weight": [4, 8], "a.lora_up.weight": [8, 4]}, metadata={"ss_epoch": "4"})


def write_state(folder: Path, *, epoch: int = 4, step: int = 40) -> Path:
    """A complete state as sd-scripts writes it (trainers.md 1.4)."""
    folder.mkdir(parents=True)
    (folder / "train_state.json").write_text(json.dumps({"current_epoch": epoch, "current_step": step}))
    (folder / "model.safetensors").write_bytes(LORA)
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        (folder / name).write_bytes(b"state")
    return folder
