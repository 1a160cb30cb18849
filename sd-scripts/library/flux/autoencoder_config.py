# SPDX-License-Identifier: Apache-2.0
"""The autoencoder's widths and depths, derived from the shapes in ae.safetensors, and its keys. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from library.files.safetensors_header import Shapes

# Constants of Flux's autoencoder (black-forest-labs/flux, src/flux/util.py).
SCALE, SHIFT = 0.3611, 0.1159
PIXELS_PER_LATENT = 8


def read_config(shapes: Shapes) -> dict[str, Any]:
    """AutoencoderKL's arguments, derived from a file's shapes. Raises KeyError if a key is missing."""
    levels = _count(shapes, r"encoder\.down\.(\d+)\.")
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": shapes["encoder.conv_out.weight"][0] // 2,
        "block_out_channels": tuple(
            shapes[f"encoder.down.{level}.block.0.conv2.weight"][0] for level in range(levels)
        ),
        "layers_per_block": _count(shapes, r"encoder\.down\.0\.block\.(\d+)\."),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "norm_num_groups": 32,
        "act_fn": "silu",
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "scaling_factor": SCALE,
        "shift_factor": SHIFT,
        "force_upcast": True,
        "sample_size": 1024,
    }


def _count(keys: Iterable[str], pattern: str) -> int:
    found = (re.match(pattern, key) for key in keys)
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)


def keys(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every key of the file with its shape, in the LDM/BFL layout."""
    widths, blocks, channels = config["block_out_channels"], config["layers_per_block"], config["latent_channels"]
    table = _Table()
    table.convolution("encoder.conv_in", config["in_channels"], widths[0])
    width = widths[0]
    for level, outputs in enumerate(widths):
        for block in range(blocks):
            table.block(f"encoder.down.{level}.block.{block}", width, outputs)
            width = outputs
        if level < len(widths) - 1:
            table.convolution(f"encoder.down.{level}.downsample.conv", width, width)
    table.middle("encoder", width)
    table.convolution("encoder.conv_out", width, 2 * channels)
    table.convolution("decoder.conv_in", channels, width)
    table.middle("decoder", width)
    for level, outputs in reversed(list(enumerate(widths))):
        for block in range(blocks + 1):
            table.block(f"decoder.up.{level}.block.{block}", width, outputs)
            width = outputs
        if level:
            table.convolution(f"decoder.up.{level}.upsample.conv", width, width)
    table.norm("decoder.norm_out", width)
    table.convolution("decoder.conv_out", width, config["out_channels"])
    return table.found


class _Table:
    """Collects the keys and shapes of a model, layer by layer."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, ...]] = {}

    def convolution(self, name: str, inputs: int, outputs: int, *, side: int = 3) -> None:
        self.found[f"{name}.weight"], self.found[f"{name}.bias"] = (outputs, inputs, side, side), (outputs,)

    def norm(self, name: str, width: int) -> None:
        self.found[f"{name}.weight"] = self.found[f"{name}.bias"] = (width,)

    def block(self, name: str, inputs: int, outputs: int) -> None:
        self.norm(f"{name}.norm1", inputs)
        self.convolution(f"{name}.conv1", inputs, outputs)
        self.norm(f"{name}.norm2", outputs)
        self.convolution(f"{name}.conv2", outputs, outputs)
        if inputs != outputs:
            self.convolution(f"{name}.nin_shortcut", inputs, outputs, side=1)

    def middle(self, side: str, width: int) -> None:
        """Two blocks and an attention; in the encoder, the last norm too."""
        for block in ("block_1", "block_2"):
            self.block(f"{side}.mid.{block}", width, width)
        self.norm(f"{side}.mid.attn_1.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            self.convolution(f"{side}.mid.attn_1.{part}", width, width, side=1)
        if side == "encoder":
            self.norm("encoder.norm_out", width)
