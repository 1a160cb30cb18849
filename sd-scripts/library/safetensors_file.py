# SPDX-License-Identifier: Apache-2.0
"""Reading and writing model files: headers are checked before anything is loaded; a wrong file is one sentence.

Tensors are read one by one and stay mapped from the file until they are cast, so what is read takes no memory.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from library.errors import TrainerError

MAXIMUM_HEADER_BYTES = 100_000_000
# Scaled fp8 as ComfyUI writes it: X.weight with X.scale_weight (and X.scale_input, which only fp8 products need), and
# an empty tensor `scaled_fp8` that says so.
SCALE = ".scale_weight"
SCALE_KEYS = (SCALE, ".scale_input", "scaled_fp8")
T = TypeVar("T")
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


def load(path: Path, *, prefix: str = "") -> dict[str, Tensor]:
    """All tensors of the file, or its part behind `prefix`. Those with a scale of their own (fp8) are multiplied by
    it, in fp32, and kept in bf16; the others stay mapped from the file, in its types."""
    return {
        key: tensor if scale is None else unscaled(tensor, scale, torch.bfloat16)
        for key, tensor, scale in stream(path, prefix=prefix)
    }


def stream(path: Path, *, prefix: str = "") -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """(key, tensor, its scale if it has one) of the same, in the order of the file, one by one."""
    with safe_open(path, framework="pt") as file:
        stored = part({key: key for key in file.offset_keys()}, prefix)
        for key, in_file in stored.items():
            if not key.endswith(SCALE_KEYS):
                scale = stored.get(scale_key(key))
                yield key, file.get_tensor(in_file), file.get_tensor(scale) if scale else None


def scale_key(weight_key: str) -> str:
    """X.weight -> X.scale_weight."""
    return weight_key.removesuffix(".weight") + SCALE


def unscaled(tensor: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """What a tensor with a scale means: multiplied in fp32, then cast."""
    return (tensor.float() * scale.float()).to(dtype)


def part(named: Mapping[str, T], prefix: str) -> dict[str, T]:
    """What has the prefix, without it; all, where nothing has it. A whole pipeline's file has other parts."""
    chosen = {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}
    return chosen or dict(named)


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a file with the mode that the umask gives: safetensors' own writer makes it readable by nobody else."""
    path.write_bytes(to_bytes(dict(tensors), dict(metadata)))


def check_fit(model: torch.nn.Module, shapes: Shapes, source: str) -> list[str]:
    """The keys that the model has no use for, as sd-scripts leaves them out too: other models in the same file.

    Raises TrainerError if a key that the model has is missing or has another shape, or if a key more says something
    of one of its tensors: a matrix means something else with scales that nobody reads (NF4, other fp8 formats).
    """
    given = {key: shape for key, shape in shapes.items() if not key.endswith(SCALE_KEYS)}
    own = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    filled = {part for key in own for part in (key, key.rpartition(".")[0])}
    unused = [key for key in given if key not in own]
    wrong = [
        *(f"lacks {key}" for key in own if key not in given),
        *(f"has {key}, which is none of its keys" for key in unused if _within(key, filled)),
        *(
            f"has {key} as {given[key]}, and {own[key]} is right"
            for key in own
            if given.get(key, own[key]) != own[key]
        ),
    ]
    if wrong:
        more = f" ({len(wrong)} keys are wrong)" if len(wrong) > 1 else ""
        raise TrainerError(f"{source} is damaged or another model: it {wrong[0]}{more}")
    return unused


def _within(key: str, names: set[str]) -> bool:
    """Whether what the key stands in, at any depth, is one of the names."""
    parts = key.split(".")
    return any(".".join(parts[:length]) in names for length in range(1, len(parts)))


def assign(model: torch.nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype, source: str) -> None:
    """Puts those tensors into a model that it has, which was built on `meta`: cast to `dtype`, frozen, in evaluation
    mode.

    Raises TrainerError as `check_fit`.
    """
    check_fit(model, {key: tuple(tensor.shape) for key, tensor in tensors.items()}, source)
    own = {key: tensors[key] for key in model.state_dict()}
    fill(model, {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in own.items()})


def fill(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts tensors into a model that was built on `meta`, as they are, frozen, in evaluation mode.

    Nothing may stay on `meta`: such a buffer would compute NaN without an error (measured with CLIP's position_ids,
    issue 2).
    """
    model.load_state_dict(tensors, strict=True, assign=True)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise RuntimeError(f"{name} of {type(model).__name__} was never filled")
    model.eval().requires_grad_(False)
