# SPDX-License-Identifier: Apache-2.0
"""The names of a Flux LoRA's layers in kohya's layout and in diffusers'. Pure, and without torch. (`layout_detection`
translates the names of other programs to these.)

kohya keeps the published model's fused projections; diffusers splits them. So one of kohya's layers has one or more
members in diffusers, and its outputs are those of the members, concatenated. Within each table every name is unique,
so the same tables serve both directions. The members have the module names of FluxTransformer2DModel and
CLIPTextModel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from library.errors import TrainerError

Layout = Literal["kohya", "diffusers", "peft", "bfl", "onetrainer"]
NAMES: dict[Layout, str] = {
    "kohya": "kohya's layout",
    "diffusers": "diffusers' layout",
    "peft": "PEFT's layout",
    "bfl": "BFL's layout",
    "onetrainer": "OneTrainer's layout",
}
Family = Literal["fused", "split"]
"""Whether a layout keeps the published model's fused projections, as kohya's does, or splits them, as diffusers'."""
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
# Layers outside the blocks. The last modulation's halves are (shift, scale) as published, and (scale, shift) in
# diffusers.
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
    """Layers that repeat in numbered blocks, or a single set of layers if not `numbered`. `label` is for people."""

    label: str
    kohya: str
    diffusers: str
    layers: dict[str, Members]
    numbered: bool = True


# transformers 5 names CLIP's modules without `text_model.`; files have it, and diffusers removes it where necessary.
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
    """The place of a layer in the model: its block (such as `double 3`), the name of kohya's layer that it is or
    belongs to, and the names of that layer's members in diffusers."""

    block: str
    kohya: str
    members: Members

    @property
    def swapped(self) -> bool:
        return self.kohya.endswith(SWAPPED)


def place_of_kohya(name: str) -> Place:
    """The place of a layer with kohya's name, such as `lora_unet_double_blocks_0_img_attn_qkv`.

    Raises TrainerError.
    """
    for stack in STACKS:
        if found := re.fullmatch(re.escape(stack.kohya) + (r"(\d+)_(.+)" if stack.numbered else "()(.+)"), name):
            number, layer = found.groups()
            if layer in stack.layers:
                return _place(stack, number, layer)
    raise TrainerError(f"{name} is not a layer of Flux or CLIP-L that diffusers supports")


def place_of_diffusers(name: str) -> Place:
    """The place of a layer with diffusers' name, such as `transformer.transformer_blocks.0.attn.to_q`.

    Raises TrainerError.
    """
    for stack in STACKS:
        if found := re.fullmatch(re.escape(stack.diffusers) + (r"(\d+)\.(.+)" if stack.numbered else "()(.+)"), name):
            number, member = found.groups()
            for layer, members in stack.layers.items():
                if member in members:
                    return _place(stack, number, layer)
    raise TrainerError(f"{name} is not a layer of Flux or CLIP-L that kohya's layout supports")


def _place(stack: Stack, number: str, layer: str) -> Place:
    between = (f"{number}_", f"{number}.") if stack.numbered else ("", "")
    return Place(
        block=f"{stack.label} {number}".rstrip(),
        kohya=f"{stack.kohya}{between[0]}{layer}",
        members=tuple(f"{stack.diffusers}{between[1]}{member}" for member in stack.layers[layer]),
    )


def full_name(name: str) -> str:
    """Completes a layer's name in diffusers' layout, which other programs may write with PEFT's or ComfyUI's prefix,
    without the part's name, or without CLIP's `text_model.`."""
    name = name.removeprefix("base_model.model.").removeprefix("diffusion_model.")
    if re.match(rf"{TEXT_ENCODER}\.encoder\.", name):
        return name.replace(f"{TEXT_ENCODER}.", f"{TEXT_ENCODER}.text_model.", 1)
    return name if name.startswith((f"{TRANSFORMER}.", f"{TEXT_ENCODER}")) else f"{TRANSFORMER}.{name}"
