# SPDX-License-Identifier: Apache-2.0
"""The keys of a LoRA's tensors in kohya's layout: a layer's name, and which of its tensors it is. No torch.

A layer's name is a prefix, `lora_unet` or (for CLIP-L) `lora_te1_text_model`, and the module's path with `_` for `.`.
Each layer has a down matrix (rank, in), an up matrix (out, rank) and an alpha. The header of a LoRA by sd-scripts is
recorded in tests/sd_scripts/upstream/sd-scripts-lora-header.json.
"""

from __future__ import annotations

DOWN, UP, ALPHA = SIDES = ("lora_down.weight", "lora_up.weight", "alpha")


def layer_name(prefix: str, path: str) -> str:
    """`lora_unet` and `double_blocks.0.img_attn.qkv` -> `lora_unet_double_blocks_0_img_attn_qkv`."""
    return f"{prefix}.{path}".replace(".", "_")


def key_of(layer: str, side: str) -> str:
    """The key of one of a layer's tensors: `lora_unet_img_in` and DOWN -> `lora_unet_img_in.lora_down.weight`."""
    return f"{layer}.{side}"


def split(key: str) -> tuple[str, str]:
    """The layer's name and the side from a key; the side is empty if the key has none."""
    layer, _, side = key.partition(".")
    return layer, side
