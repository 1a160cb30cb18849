# SPDX-License-Identifier: Apache-2.0
"""FLUX.1 dev as the functions that estimate memory see it, and with random weights, so that it can be computed."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from library.compute import block_swap
from library.family.sizes import BatchShape
from library.files import safetensors_file
from library.flux import loading
from library.flux.base_model import transformer_size
from library.flux.config import FluxConfig
from library.flux.model import Flux, image_ids
from library.memory.footprint import Run, Tier

DEV = FluxConfig(
    packed_channels=64,
    vector_width=768,
    text_width=4096,
    hidden=3072,
    mlp_hidden=12288,
    head_width=128,
    double_blocks=19,
    single_blocks=38,
    guidance=True,
)
PER_RANK = 4_786_176  # parameters of a LoRA of rank 1 on the linear layers of all blocks
TEXT_TOKENS = 512
ADAMW = 4  # fp32 copies of the LoRA: weights, gradient, two moments


@functools.cache
def shapes_of(model: FluxConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in a file of this model."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Flux(model).named_parameters()}


def training(*, model: FluxConfig = DEV, pixels: int = 1024, batch: int = 1, rank: int = 16, **changes: Any) -> Run:
    """A training of a LoRA on the transformer alone, under bf16 autocast; `changes` replace any field."""
    tokens = (pixels // 16) ** 2 + TEXT_TOKENS
    described: dict[str, Any] = {
        "lora": rank * PER_RANK,
        "encoder_lora": 0,
        "copies": ADAMW,
        "batch": BatchShape(size=batch, tokens=tokens),
        "autocast": True,
    }
    return Run(model=transformer_size(model, shapes_of(model)), **described | changes)


def random_tensors(model: FluxConfig, device: torch.device) -> Iterator[tuple[str, Tensor, None]]:
    """Yields what `safetensors_file.stream` yields for a file of this model. Each tensor is drawn on the device when
    its turn comes, so 24 GB of weights need no file. Activations stay finite through all blocks."""
    for key, shape in shapes_of(model).items():
        tensor = torch.zeros(shape, device=device, dtype=torch.bfloat16)
        if len(shape) == 2:
            tensor.normal_(0.0, shape[1] ** -0.5)
        elif key.endswith("scale"):
            tensor.fill_(1.0)
        yield key, tensor, None


def load_random(model: FluxConfig, tier: Tier, *, device: torch.device, folder: Path) -> Flux:
    """A frozen transformer with random weights, made by the trainer's own loading, quantised base and block swap."""
    path, end = folder / "flux.safetensors", 0
    header = {}
    for key, shape in shapes_of(model).items():
        size = torch.Size(shape).numel() * 2
        header[key] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    with path.open("wb") as file:
        text = json.dumps(header).encode()
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)  # a hole: it takes no space
    with mock.patch.object(safetensors_file, "stream", return_value=random_tensors(model, device)):
        flux = loading.load_transformer(
            path,
            model,
            dtype=torch.bfloat16,
            device=device,
            base=tier.base,
            stays=block_swap.stays(model.stacks, blocks_to_swap=tier.blocks_to_swap, device=device),
        )
    flux.checkpointed_blocks = tier.checkpointed_blocks
    block_swap.install(flux, blocks_to_swap=tier.blocks_to_swap, device=device)
    return flux


def inputs_of(model: FluxConfig, *, pixels: int, batch: int, device: torch.device) -> tuple[Tensor, ...]:
    """Random inputs for a forward pass of a training."""
    side = pixels // 8
    return (
        torch.randn(batch, side * side // 4, model.packed_channels, device=device),
        image_ids(side, side, device),
        torch.randn(batch, TEXT_TOKENS, model.text_width, device=device),
        torch.randn(batch, model.vector_width, device=device),
        torch.full((batch,), 0.5, device=device),
        torch.full((batch,), 1.0, device=device),
    )
