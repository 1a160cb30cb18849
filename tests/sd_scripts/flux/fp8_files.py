# SPDX-License-Identifier: Apache-2.0
"""The tensors of a model as files in fp8 have them, and the numbers that these represent."""

from __future__ import annotations

import torch
from torch import Tensor

FP8 = torch.float8_e4m3fn


def in_fp8(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.to(FP8) for key, tensor in tensors.items()}


def in_scaled_fp8(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices scaled to the full range of fp8, and their scales, as in ComfyUI's files."""
    made: dict[str, Tensor] = {"scaled_fp8": torch.empty(2, dtype=FP8)}
    for key, tensor in tensors.items():
        if tensor.ndim == 2 and key.endswith(".weight") and tensor.any():
            scale = tensor.float().abs().max() / 448
            made[key] = (tensor.float() / scale).to(FP8)
            made[key.removesuffix("weight") + "scale_weight"] = scale
            made[key.removesuffix("weight") + "scale_input"] = torch.ones(())
        else:
            made[key] = tensor
    return made


def as_read(tensors: dict[str, Tensor], original: dict[str, Tensor]) -> dict[str, Tensor]:
    """The numbers that the stored tensors represent, by definition."""
    stems = {key: key.removesuffix("weight") for key in original}
    one = torch.ones(())
    scales = {
        key: tensors.get(f"{stem}scale_weight", tensors.get(f"{stem}weight_scale", one))
        for key, stem in stems.items()
    }
    return {key: (tensors[key].float() * scales[key].float()) for key in original}
