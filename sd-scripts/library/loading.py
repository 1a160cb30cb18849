# SPDX-License-Identifier: Apache-2.0
"""Loading the frozen transformer: tensor by tensor, from the mapped file to where it stays, cast on the way.

Beside the transformer itself, one tensor at a time is in memory: on the device if there is one, which then also
casts. The file's own pages are the kernel's, which takes them back when it needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from library import fp8, safetensors_file
from library.errors import TrainerError
from library.flux_model import SINGLE_FILE_PREFIX, Flux, FluxConfig

FLAG = "--pretrained_model_name_or_path"


def load_transformer(
    path: Path,
    config: FluxConfig,
    *,
    dtype: torch.dtype,
    device: torch.device,
    base: str = "full",
    stays: Callable[[str], torch.device] | None = None,
) -> Flux:
    """The transformer of a file, in `dtype`; with `base` "fp8" the blocks' matrices in 8 bits (`fp8.Fp8Linear`).

    Tensors are cast on `device`. Each stays where `stays` puts its key, by default there too.
    Raises TrainerError if a key or a shape is not Flux's, before anything is loaded.
    """
    shapes_of(path, config)
    transformer = _on_meta(config)
    if base == "fp8":
        with torch.device("meta"):
            fp8.convert(transformer)
    in_fp8 = {f"{name}.weight" for name, module in transformer.named_modules() if isinstance(module, fp8.Fp8Linear)}
    own = transformer.state_dict().keys()
    tensors = {}
    for key, tensor, scale in safetensors_file.stream(path, prefix=SINGLE_FILE_PREFIX):
        if key not in own:
            continue
        stored = tensor.to(device), scale.to(device) if scale is not None else None
        for name, ready in _in_fp8(key, *stored, path) if key in in_fp8 else _in_full(key, *stored, dtype):
            tensors[name] = ready.to(stays(key) if stays is not None else device)
    safetensors_file.fill(transformer, tensors)
    return transformer


def shapes_of(path: Path, config: FluxConfig) -> dict[str, tuple[int, ...]]:
    """Those of the transformer in a file, without what else it holds. Raises TrainerError as `check_fit`."""
    shapes = safetensors_file.part(safetensors_file.read_shapes(path, FLAG), SINGLE_FILE_PREFIX)
    unused = set(safetensors_file.check_fit(_on_meta(config), shapes, f"{FLAG}: {path}"))
    return {key: shape for key, shape in shapes.items() if key not in unused}


def _on_meta(config: FluxConfig) -> Flux:
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
