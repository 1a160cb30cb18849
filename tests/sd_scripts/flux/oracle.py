# SPDX-License-Identifier: Apache-2.0
"""diffusers' FluxTransformer2DModel, with the weights and the inputs that our Flux gets."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from library.flux.config import FluxConfig
from library.flux.model import image_ids, pack
from tests.sd_scripts.flux.keymap import to_diffusers

TOKENS = 7


def build_oracle(tensors: dict[str, Tensor], config: FluxConfig) -> Any:
    """diffusers' model with the tensors of a file in the published layout."""
    with torch.device("meta"):
        oracle = FluxTransformer2DModel(
            in_channels=config.packed_channels,
            num_layers=config.double_blocks,
            num_single_layers=config.single_blocks,
            attention_head_dim=config.head_width,
            num_attention_heads=config.heads,
            joint_attention_dim=config.text_width,
            pooled_projection_dim=config.vector_width,
            guidance_embeds=config.guidance,
            axes_dims_rope=config.rope_widths,
        )
    oracle.load_state_dict(to_diffusers(tensors, config), assign=True)
    return oracle.eval().requires_grad_(False)


def inputs(config: FluxConfig, height: int = 8, width: int = 6) -> tuple[Tensor, ...]:
    """Tokens of latents, positions, text, pooled text, noise levels and guidance for a batch of two."""
    drawn = torch.Generator().manual_seed(1)
    return (
        pack(torch.randn(2, config.packed_channels // 4, height, width, generator=drawn)),
        image_ids(height, width, torch.device("cpu")),
        torch.randn(2, TOKENS, config.text_width, generator=drawn),
        torch.randn(2, config.vector_width, generator=drawn),
        torch.tensor([0.3, 0.9]),
        torch.tensor([1.0, 3.5]),
    )


def ask_oracle(oracle: Any, config: FluxConfig, given: tuple[Tensor, ...]) -> Tensor:
    img, img_ids, txt, pooled, t, guidance = given
    answer: Tensor = oracle(
        hidden_states=img,
        encoder_hidden_states=txt,
        pooled_projections=pooled,
        timestep=t,
        img_ids=img_ids,
        txt_ids=torch.zeros(TOKENS, 3),
        guidance=guidance if config.guidance else None,
        return_dict=False,
    )[0]
    return answer
