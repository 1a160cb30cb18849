# SPDX-License-Identifier: Apache-2.0
"""Reads and writes safetensors files, and puts tensors into models. `safetensors_header` checks files beforehand.

Tensors are read one by one and stay mapped from the file until they are cast, so reading takes no memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from library.files import safetensors_header
from library.files.model_fit import check_fit
from library.files.safetensors_header import SCALE_KEYS, WEIGHT_SCALES, part, scale_of


def load(path: Path, *, prefix: str = "", flag: str = "model") -> dict[str, Tensor]:
    """All tensors of the file, or only its part with `prefix`, which is removed from the keys. Tensors with a scale
    (fp8) are multiplied by it in fp32 and become bf16; the others stay mapped from the file, in its types.

    Raises TrainerError, which begins with `flag`, if the file is damaged or missing.
    """
    return {
        key: tensor if scale is None else unscaled(tensor, scale, torch.bfloat16)
        for key, tensor, scale in stream(path, prefix=prefix, flag=flag)
    }


def stream(path: Path, *, prefix: str = "", flag: str = "model") -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """(key, tensor, its scale or None) of the same tensors, one by one in the order of the file. Raises TrainerError
    as `load` does."""
    with _open(path, flag) as file:
        stored = part({key: key for key in file.offset_keys()}, prefix)
        for key, in_file in stored.items():
            if not key.endswith(SCALE_KEYS):
                scale = scale_of(key, stored)
                yield key, file.get_tensor(in_file), file.get_tensor(stored[scale]) if scale else None


def _open(path: Path, flag: str) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError):
        safetensors_header.read(path, flag)  # raises an error that says what happened to the file since the check
        raise


def scale_key(weight_key: str) -> str:
    """X.weight -> X.scale_weight, the name of the scale in this trainer's own modules."""
    return weight_key.removesuffix(".weight") + WEIGHT_SCALES[0]


def unscaled(tensor: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor multiplied by its scale, or by its rows' scales, in fp32, and then cast to `dtype`."""
    by_row = scale.float().flatten()
    if by_row.numel() > 1:
        by_row = by_row.view(-1, *[1] * (tensor.ndim - 1))
    return (tensor.float() * by_row).to(dtype)


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a file with the mode that the umask gives. safetensors' own writer lets only the owner read it."""
    path.write_bytes(to_bytes(dict(tensors), dict(metadata)))


def assign(model: torch.nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype, source: str) -> None:
    """Fills a model that was built on `meta` with its tensors, cast to `dtype`. The model is then frozen and in
    evaluation mode. `source` names the file in messages.

    Raises TrainerError as `check_fit` does.
    """
    made = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    check_fit(made, {key: tuple(tensor.shape) for key, tensor in tensors.items()}, source)
    own = {key: tensors[key] for key in model.state_dict()}
    fill(model, {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in own.items()})


def fill(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Fills a model that was built on `meta` with tensors, uncast. The model is then frozen and in evaluation mode.

    Nothing may stay on `meta`: such a buffer would give NaN without an error (measured with CLIP's position_ids,
    issue 2).
    """
    model.load_state_dict(tensors, strict=True, assign=True)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise RuntimeError(f"{name} of {type(model).__name__} was never filled")
    model.eval().requires_grad_(False)
