# SPDX-License-Identifier: Apache-2.0
"""A small Flux with random weights and a LoRA, its output, and its gradients."""

from __future__ import annotations

import torch

from library.flux.config import FluxConfig
from library.flux.model import Flux, image_ids
from library.lora.lora import LoRANetwork
from library.options.network_settings import NetworkSettings

TEXT_TOKENS, HIDDEN = 8, 64


def flux(*, double: int, single: int, dropout: float = 0.0) -> tuple[Flux, LoRANetwork]:
    """A Flux with random weights, and a LoRA on all of its blocks with no zero matrix."""
    torch.manual_seed(0)
    config = FluxConfig(
        packed_channels=16,
        vector_width=HIDDEN,
        text_width=HIDDEN,
        hidden=HIDDEN,
        mlp_hidden=4 * HIDDEN,
        head_width=32,
        double_blocks=double,
        single_blocks=single,
        guidance=True,
    )
    transformer = Flux(config).requires_grad_(False)
    settings = NetworkSettings(module_dropout=dropout, rank_dropout=dropout)
    network = LoRANetwork(
        transformer=transformer, clip=None, rank=2, alpha=1, seed=1, settings=settings, dropout=dropout
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return transformer, network


def output_of(transformer: Flux, *, height: int, width: int, batch: int = 1) -> torch.Tensor:
    """Velocities of `batch` random pictures of height x width tokens."""
    torch.manual_seed(1)
    return transformer(
        torch.randn(batch, height * width, 16),
        image_ids(2 * height, 2 * width, torch.device("cpu")),
        torch.randn(batch, TEXT_TOKENS, HIDDEN),
        torch.randn(batch, HIDDEN),
        torch.full((batch,), 0.5),
        torch.ones(batch),
    )


def gradients(transformer: Flux, network: LoRANetwork, **size: int) -> list[torch.Tensor]:
    network.zero_grad()
    output_of(transformer, **size).square().mean().backward()
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
