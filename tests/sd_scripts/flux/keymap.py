# SPDX-License-Identifier: Apache-2.0
"""Converts the published Flux layout to diffusers' keys, for any width. diffusers' own converter only takes 3072.

diffusers splits the fused projections, and keeps the last modulation as (scale, shift).
"""

from __future__ import annotations

import torch
from torch import Tensor

from library.flux.config import FluxConfig

EMBEDDERS = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "txt_in": "context_embedder",
    "img_in": "x_embedder",
    "final_layer.linear": "proj_out",
}
DOUBLE = {
    "img_mod.lin": ["norm1.linear"],
    "txt_mod.lin": ["norm1_context.linear"],
    "img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "img_attn.proj": ["attn.to_out.0"],
    "txt_attn.proj": ["attn.to_add_out"],
    "img_mlp.0": ["ff.net.0.proj"],
    "img_mlp.2": ["ff.net.2"],
    "txt_mlp.0": ["ff_context.net.0.proj"],
    "txt_mlp.2": ["ff_context.net.2"],
}
SINGLE = {
    "modulation.lin": ["norm.linear"],
    "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
    "linear2": ["proj_out"],
}
DOUBLE_NORMS = {
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
SINGLE_NORMS = {"norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k"}


def to_diffusers(tensors: dict[str, Tensor], config: FluxConfig) -> dict[str, Tensor]:
    """The same tensors, split and renamed to diffusers' keys."""
    renamed = {}
    for name, other in EMBEDDERS.items():
        for kind in ("weight", "bias"):
            if f"{name}.{kind}" in tensors:
                renamed[f"{other}.{kind}"] = tensors[f"{name}.{kind}"]
    for kind in ("weight", "bias"):
        shift, scale = tensors[f"final_layer.adaLN_modulation.1.{kind}"].chunk(2)
        renamed[f"norm_out.linear.{kind}"] = torch.cat([scale, shift])
    stacks = (
        ("double_blocks", "transformer_blocks", config.double_blocks, DOUBLE, DOUBLE_NORMS),
        ("single_blocks", "single_transformer_blocks", config.single_blocks, SINGLE, SINGLE_NORMS),
    )
    for stack, other_stack, depth, linears, norms in stacks:
        for block in range(depth):
            for name, others in linears.items():
                for kind in ("weight", "bias"):
                    parts = _split(tensors[f"{stack}.{block}.{name}.{kind}"], others, config)
                    renamed |= {f"{other_stack}.{block}.{other}.{kind}": part for other, part in parts}
            for name, other in norms.items():
                renamed[f"{other_stack}.{block}.{other}.weight"] = tensors[f"{stack}.{block}.{name}.scale"]
    return renamed


def _split(tensor: Tensor, others: list[str], config: FluxConfig) -> list[tuple[str, Tensor]]:
    if len(others) == 1:
        return [(others[0], tensor)]
    widths = [config.hidden] * 3 + [config.mlp_hidden] * (len(others) - 3)
    return list(zip(others, (part.contiguous() for part in tensor.split(widths)), strict=True))
