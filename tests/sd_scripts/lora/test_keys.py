# SPDX-License-Identifier: Apache-2.0
"""The keys of a LoRA's tensors are sd-scripts', as recorded from one of its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from library.lora import keys
from library.options.trained_layers import CLIP_PREFIX, TRANSFORMER_PREFIX

RECORDED = json.loads((Path(__file__).parent.parent / "upstream" / "sd-scripts-lora-header.json").read_text())


@pytest.mark.parametrize("side", keys.SIDES)
@pytest.mark.parametrize(
    ("prefix", "path"),
    [(TRANSFORMER_PREFIX, "double_blocks.0.img_attn.qkv"), (CLIP_PREFIX, "encoder.layers.0.self_attn.q_proj")],
)
def test_keys_match_those_that_sd_scripts_wrote(prefix: str, path: str, side: str) -> None:
    layer = keys.layer_name(prefix, path)
    assert keys.key_of(layer, side) in RECORDED
    assert keys.split(keys.key_of(layer, side)) == (layer, side)


def test_a_key_without_a_side_is_split_into_a_name_and_nothing() -> None:
    assert keys.split("lora_unet_img_in") == ("lora_unet_img_in", "")
