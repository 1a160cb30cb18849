# SPDX-License-Identifier: Apache-2.0
"""Which layers of the models can get a LoRA, and the prefixes of their names in its file. Pure, and without torch.

A path is a layer's place in its model: `double_blocks.0.img_attn.qkv` in the transformer, and
`encoder.layers.0.mlp.fc1` in CLIP-L.
"""

from __future__ import annotations

import re

TRANSFORMER_PREFIX = "lora_unet"
CLIP_PREFIX = "lora_te1_text_model"
BLOCKS = ("double_blocks", "single_blocks")
# The layers before the blocks, in the order of the five ranks of in_dims.
IN_LAYERS = ("img_in", "time_in", "vector_in", "guidance_in", "txt_in")


def in_blocks(path: str) -> bool:
    """Whether the layer is in one of the transformer's blocks."""
    return path.partition(".")[0] in BLOCKS


def before_blocks(path: str) -> bool:
    """Whether the layer is one of the transformer's that come before the blocks and can be trained."""
    return path.partition(".")[0] in IN_LAYERS


def in_clip(path: str) -> bool:
    """Whether the layer is one of CLIP-L's that can be trained."""
    return re.match(r"encoder\.layers\.\d+\.(self_attn|mlp)\.", path) is not None
