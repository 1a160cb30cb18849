# SPDX-License-Identifier: Apache-2.0
"""Loads the frozen transformer tensor by tensor: each is moved from the mapped file to its device and cast.

Apart from the transformer itself, only one tensor at a time is in memory. It is cast on the device. The pages of the
mapped file do not count: the kernel reclaims them when it needs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from library.compute import fp8
from library.errors import TrainerError
from library.files import safetensors_file
from library.files.model_fit import check_fit
from library.flux import config as flux_config
from library.flux.config import FLAG, SINGLE_FILE_PREFIX, FluxConfig
from library.flux.model import Flux


def load_transformer(
    path: Path,
    config: FluxConfig,
    *,
    dtype: torch.dtype,
    device: torch.device,
    base: str = "full",
    stays: Callable[[str], torch.device] | None = None,
) -> Flux:
    """The transformer of a file, in `dtype`; with `base` "fp8", the blocks' matrices are in 8 bits (`fp8.Fp8Linear`).

    Tensors are cast on `device`, and then moved to the device that `stays` gives for their key, if it is given.
    Raises TrainerError if the file is not of this config.
    """
    transformer = on_meta(config)
    if base == "fp8":
        with torch.device("meta"):
            fp8.convert(transformer)
    in_fp8 = {f"{name}.weight" for name, module in transformer.named_modules() if isinstance(module, fp8.Fp8Linear)}
    own = transformer.state_dict().keys()
    tensors, shapes = {}, {}
    for key, tensor, scale in safetensors_file.stream(path, prefix=SINGLE_FILE_PREFIX, flag=FLAG):
        # Caching may have taken an hour since the header was checked, and the file may be another one now.
        if not tensor.is_floating_point():
            raise TrainerError(f"{FLAG}: {path} contains integers ({key} is {tensor.dtype}), which is not supported")
        shapes[key] = tuple(tensor.shape)
        if key not in own:
            continue
        stored = tensor.to(device), scale.to(device) if scale is not None else None
        for name, ready in _in_fp8(key, *stored, path) if key in in_fp8 else _in_full(key, *stored, dtype):
            tensors[name] = ready.to(stays(key) if stays is not None else device)
    check_fit(flux_config.shapes(config), shapes, f"{FLAG}: {path}")
    safetensors_file.fill(transformer, tensors)
    return transformer


def on_meta(config: FluxConfig) -> Flux:
    """The transformer without its weights."""
    with torch.device("meta"):
        return Flux(config)


def _in_full(key: str, tensor: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    yield key, tensor.to(dtype) if scale is None else safetensors_file.unscaled(tensor, scale, dtype)


def _in_fp8(key: str, tensor: Tensor, scale: Tensor | None, path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        weight, scales = fp8.of_file(tensor, scale)
    except ValueError as error:
        raise TrainerError(f"{path}: {key} {error}") from error
    yield key, weight
    yield safetensors_file.scale_key(key), scales
