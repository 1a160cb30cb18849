# SPDX-License-Identifier: Apache-2.0
"""Determines a LoRA file's layout from the names of all its modules, and translates them to kohya's or diffusers'.

Part of one name is not enough: `diffusion_model.`
occurs before BFL's and before diffusers' names, SDXL's CLIP-L has the same keys as Flux's, and OneTrainer's keys
begin like kohya's. Pure, and without torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from library.errors import TrainerError
from library.lora.layouts import STACKS, TRANSFORMER, Family, Layout, full_name, place_of_diffusers, place_of_kohya

# ComfyUI's names for the transformer, and PEFT's for what it wraps; BFL itself uses no prefix.
BFL_PREFIXES = ("base_model.model.", "diffusion_model.", "model.diffusion_model.")
BFL_CLIP = "text_encoders.clip_l.transformer."
ONETRAINER = "lora_transformer_"
OTHER_MODELS = (
    (r"^lora_unet_(input|middle|output)_blocks_|^lora_te2_text_model_", "SDXL"),
    (r"^(lora_unet_|unet\.)(down|mid|up)_blocks?[._]", "Stable Diffusion 1.5 or SDXL"),
    (r"joint_blocks", "Stable Diffusion 3"),
    (r"distilled_guidance_layer", "Chroma"),
    (r"double_stream_modulation|single_stream_modulation", "FLUX.2"),
)


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How a layout names its modules. `canonical` translates a name to kohya's (family "fused") or diffusers'
    ("split"). A name that Flux does not have stays recognisable."""

    layout: Layout
    family: Family
    canonical: Callable[[str], str]


def of_bfl(name: str) -> str:
    """`diffusion_model.double_blocks.0.img_attn.qkv` -> `lora_unet_double_blocks_0_img_attn_qkv`."""
    if name.startswith(BFL_CLIP):
        return "lora_te1_" + name.removeprefix(BFL_CLIP).replace(".", "_")
    for prefix in BFL_PREFIXES:
        name = name.removeprefix(prefix)
    return "lora_unet_" + name.replace(".", "_") if "." in name or not name.startswith("lora_") else name


def of_onetrainer(name: str) -> str:
    """`lora_transformer_transformer_blocks_0_attn_to_q` -> `transformer.transformer_blocks.0.attn.to_q`."""
    for stack in STACKS:
        own = stack.diffusers.startswith(f"{TRANSFORMER}.")
        prefix = ONETRAINER + stack.diffusers.partition(".")[2].replace(".", "_") if own else stack.kohya
        if found := re.fullmatch(re.escape(prefix) + (r"(\d+)_(.+)" if stack.numbered else "()(.+)"), name):
            number, rest = found.groups()
            for member in (member for members in stack.layers.values() for member in members):
                if member.replace(".", "_") == rest:
                    return f"{stack.diffusers}{number}{'.' if number else ''}{member}"
    return name


NAMINGS = (
    Naming(layout="kohya", family="fused", canonical=str),
    Naming(layout="bfl", family="fused", canonical=of_bfl),
    Naming(layout="diffusers", family="split", canonical=full_name),
    Naming(layout="onetrainer", family="split", canonical=of_onetrainer),
)


def identify(names: Iterable[str], source: str) -> Naming:
    """The naming under which the most names are layers of Flux or CLIP-L; the first one in case of a tie.

    Raises TrainerError for a LoRA of another model.
    """
    listed = list(names)
    for pattern, model in OTHER_MODELS:
        if any(re.search(pattern, name) for name in listed):
            raise TrainerError(f"{source} is a LoRA for {model}; only LoRAs for Flux are supported")
    counts = {naming.layout: sum(_is_known(naming, name) for name in listed) for naming in NAMINGS}
    best = max(NAMINGS, key=lambda naming: counts[naming.layout])
    if not counts[best.layout]:
        raise TrainerError(f"{source} is not a LoRA for Flux: {listed[0]} is not a layer of Flux or CLIP-L")
    return best


def _is_known(naming: Naming, name: str) -> bool:
    try:
        _PLACES[naming.family](naming.canonical(name))
    except TrainerError:
        return False
    return True


_PLACES = {"fused": place_of_kohya, "split": place_of_diffusers}
