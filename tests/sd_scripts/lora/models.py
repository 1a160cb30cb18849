# SPDX-License-Identifier: Apache-2.0
"""The shape of FLUX.1 dev with any number of blocks, and the smallest model that a LoRA fits on."""

from __future__ import annotations

import torch

from library.flux.config import FluxConfig


def full_width(double_blocks: int, single_blocks: int) -> FluxConfig:
    return FluxConfig(
        packed_channels=64,
        vector_width=768,
        text_width=4096,
        hidden=3072,
        mlp_hidden=12288,
        head_width=128,
        double_blocks=double_blocks,
        single_blocks=single_blocks,
        guidance=True,
    )


def tiny_transformer() -> torch.nn.Module:
    """One layer, at the place of a single block's layer."""
    return torch.nn.ModuleDict({"single_blocks": torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(4, 4))])})
