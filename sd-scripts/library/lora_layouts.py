# SPDX-License-Identifier: Apache-2.0
"""How a Flux LoRA's layers are called in kohya's layout and in diffusers'. Pure, and without torch.

kohya keeps the published model's fused projections, diffusers splits them: so one of kohya's layers has one or more
members in diffusers, whose outputs lie one behind the other. Each name of a table is there once, so both directions
come out of the same tables (trainers.md 4.2; FluxTransformer2DModel's and CLIPTextModel's module names).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from library.errors import TrainerError

Layout = Literal["kohya", "diffusers", "peft"]
NAMES: dict[Layout, str] = {"kohya": "kohya's layout", "diffusers": "diffusers' layout", "peft": "PEFT's layout"}
Members = tuple[str, ...]

TRANSFORMER = "transformer"
TEXT_ENCODER = "text_encoder"

DOUBLE: dict[str, Members] = {
    "img_mod_lin": ("norm1.linear",),
    "txt_mod_lin": ("norm1_context.linear",),
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn_proj": ("attn.to_out.0",),
    "txt_attn_proj": ("attn.to_add_out",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
}
SINGLE: dict[str, Members] = {
    "modulation_lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
}
# Outside the blocks. The last modulation's halves are (shift, scale) as published and (scale, shift) in diffusers.
SWAPPED = "final_layer_adaLN_modulation_1"
OUTSIDE: dict[str, Members] = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in_in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in_out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in_in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in_out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in_in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in_out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer_linear": ("proj_out",),
    SWAPPED: ("norm_out.linear",),
}
CLIP: dict[str, Members] = {
    "self_attn_q_proj": ("self_attn.q_proj",),
    "self_attn_k_proj": ("self_attn.k_proj",),
    "self_attn_v_proj": ("self_attn.v_proj",),
    "self_attn_out_proj": ("self_attn.out_proj",),
    "mlp_fc1": ("mlp.fc1",),
    "mlp_fc2": ("mlp.fc2",),
}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Layers that repeat by a number (or do not, where the prefixes end without one). `label` is for people."""

    label: str
    kohya: str
    diffusers: str
    layers: dict[str, Members]
    numbered: bool = True


# transformers 5 calls CLIP's modules without `text_model.`; files have it, and diffusers takes it off where it must.
STACKS = (
    Stack(
        label="double",
        kohya="lora_unet_double_blocks_",
        diffusers=f"{TRANSFORMER}.transformer_blocks.",
        layers=DOUBLE,
    ),
    Stack(
        label="single",
        kohya="lora_unet_single_blocks_",
        diffusers=f"{TRANSFORMER}.single_transformer_blocks.",
        layers=SINGLE,
    ),
    Stack(label="outside", kohya="lora_unet_", diffusers=f"{TRANSFORMER}.", layers=OUTSIDE, numbered=False),
    Stack(
        label="clip_l",
        kohya="lora_te1_text_model_encoder_layers_",
        diffusers=f"{TEXT_ENCODER}.text_model.encoder.layers.",
        layers=CLIP,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a layer is: in which block (`double 3`), and which of kohya's layers it is, or is a member of."""

    block: str
    kohya: str
    members: Members

    @property
    def swapped(self) -> bool:
        return self.kohya.endswith(SWAPPED)


def place_of_kohya(name: str) -> Place:
    """The place of a layer by kohya's name, as `lora_unet_double_blocks_0_img_attn_qkv`. Raises TrainerError."""
    for stack in STACKS:
        if found := re.fullmatch(re.escape(stack.kohya) + (r"(\d+)_(.+)" if stack.numbered else "()(.+)"), name):
            number, layer = found.groups()
            if layer in stack.layers:
                return _place(stack, number, layer)
    raise TrainerError(f"{name} is not a layer of Flux or CLIP-L that diffusers has")


def place_of_diffusers(name: str) -> Place:
    """The same by diffusers' name, as `transformer.transformer_blocks.0.attn.to_q`. Raises TrainerError."""
    for stack in STACKS:
        if found := re.fullmatch(re.escape(stack.diffusers) + (r"(\d+)\.(.+)" if stack.numbered else "()(.+)"), name):
            number, member = found.groups()
            for layer, members in stack.layers.items():
                if member in members:
                    return _place(stack, number, layer)
    raise TrainerError(f"{name} is not a layer of Flux or CLIP-L that kohya's layout has")


def _place(stack: Stack, number: str, layer: str) -> Place:
    between = (f"{number}_", f"{number}.") if stack.numbered else ("", "")
    return Place(
        block=f"{stack.label} {number}".rstrip(),
        kohya=f"{stack.kohya}{between[0]}{layer}",
        members=tuple(f"{stack.diffusers}{between[1]}{member}" for member in stack.layers[layer]),
    )


def full_name(name: str) -> str:
    """diffusers' name of a layer as other programs may write it: behind PEFT's prefix, without the part's name, or
    without CLIP's `text_model.`."""
    name = name.removeprefix("base_model.model.")
    if re.match(rf"{TEXT_ENCODER}\.encoder\.", name):
        return name.replace(f"{TEXT_ENCODER}.", f"{TEXT_ENCODER}.text_model.", 1)
    return name if name.startswith((f"{TRANSFORMER}.", f"{TEXT_ENCODER}")) else f"{TRANSFORMER}.{name}"
