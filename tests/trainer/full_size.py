# SPDX-License-Identifier: Apache-2.0
"""FLUX.1 dev as a training of it is described to the functions that reckon with memory."""

from __future__ import annotations

import functools
from typing import Any

import torch

from library import footprint
from library.activations import Batch
from library.flux_model import Flux, FluxConfig
from library.footprint import Run

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
PER_RANK = 4_786_176  # numbers of a LoRA of rank 1 on all blocks (trainers.md 1.6: 4.79 M)
TEXT_TOKENS = 512
ADAMW = 4  # fp32 copies of the LoRA: itself, its gradient, two moments


@functools.cache
def shapes_of(model: FluxConfig) -> dict[str, tuple[int, ...]]:
    """The shapes in a file of such a model."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Flux(model).named_parameters()}


def training(*, pixels: int = 1024, batch: int = 1, rank: int = 16, **changes: Any) -> Run:
    """A LoRA on the transformer alone, under bf16 autocast, unless `changes` say otherwise."""
    model: FluxConfig = changes.get("model", DEV)
    shapes = shapes_of(model)
    tokens = (pixels // 16) ** 2 + TEXT_TOKENS
    described: dict[str, Any] = {
        "model": model,
        "double": footprint.numbers_of(shapes, "double_blocks.0."),
        "single": footprint.numbers_of(shapes, "single_blocks.0."),
        "rest": footprint.outside_blocks(shapes),
        "largest": footprint.largest_matrix(shapes),
        "lora": rank * PER_RANK,
        "clip_lora": 0,
        "copies": ADAMW,
        "batch": Batch(size=batch, tokens=tokens),
        "autocast": True,
    }
    return Run(**described | changes)
