# SPDX-License-Identifier: Apache-2.0
"""Reading and writing model files: headers are checked before anything is loaded; a wrong file is one sentence."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from library.errors import TrainerError

MAXIMUM_HEADER_BYTES = 100_000_000
Shapes = Mapping[str, tuple[int, ...]]


def read_shapes(path: Path, flag: str) -> dict[str, tuple[int, ...]]:
    """Shapes by key, from the header alone.

    Raises TrainerError where the file is missing, is not safetensors, or is shorter or longer than its header says.
    """
    if not path.is_file():
        raise TrainerError(f"{flag}: there is no file {path}")
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAXIMUM_HEADER_BYTES:
                raise ValueError("the header is too long")
            header = json.loads(file.read(length))
        tensors = {key: value for key, value in header.items() if key != "__metadata__"}
        end = max((value["data_offsets"][1] for value in tensors.values()), default=0)
        shapes = {key: tuple(value["shape"]) for key, value in tensors.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainerError(f"{flag}: {path} is not a safetensors file") from error
    if path.stat().st_size != 8 + length + end:
        raise TrainerError(
            f"{flag}: {path} is damaged: its header asks for {8 + length + end} bytes, it has {path.stat().st_size}; "
            "copy or download it again"
        )
    return shapes


def load(path: Path, *, strip_prefix: str = "") -> dict[str, Tensor]:
    """All tensors, mapped from the file. `strip_prefix` is taken off the keys that carry it."""
    return {key.removeprefix(strip_prefix): tensor for key, tensor in load_file(path).items()}


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a file with the mode that the umask gives: safetensors' own writer makes it readable by nobody else."""
    path.write_bytes(to_bytes(dict(tensors), dict(metadata)))


def assign(model: torch.nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype, source: str) -> None:
    """Puts tensors into a model that was built on `meta`, cast to `dtype`, frozen, in evaluation mode.

    Raises TrainerError if a key is missing or has another shape, or if anything stays on `meta`: such a buffer
    would compute NaN without an error (measured with CLIP's position_ids, issue 2).
    """
    cast = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    try:
        model.load_state_dict(cast, strict=True, assign=True)
    except RuntimeError as error:
        raise TrainerError(f"{source} does not have the expected keys and shapes: {error}") from error
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise RuntimeError(f"{name} of {source} was never filled")
    model.eval().requires_grad_(False)
