# SPDX-License-Identifier: Apache-2.0
"""The Flux transformer's widths and depths, derived from the shapes in its file, and its keys. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from library.compute.swap_order import Stack, Stacks

FLAG = "--pretrained_model_name_or_path"
# The prefix of the transformer's keys in a file that has more than the transformer.
SINGLE_FILE_PREFIX = "model.diffusion_model."
TIME_FREQUENCIES = 256
# A token is 2x2 latents.
CHANNELS_PER_TOKEN = 4


def fewer(blocks_to_swap: int) -> tuple[int, int]:
    """How many fewer (double, single) blocks are on the device with --blocks_to_swap N: N // 2 and 2 (N - N // 2).

    N saves the same memory as in sd-scripts. A single block is about half as large as a double one.
    """
    double = blocks_to_swap // 2
    return double, 2 * (blocks_to_swap - double)


@dataclass(frozen=True, kw_only=True)
class FluxConfig:
    """Widths and depths. For flux1-dev the fields are 64, 768, 4096, 3072, 12288, 128, 19, 38, True."""

    packed_channels: int
    vector_width: int
    text_width: int
    hidden: int
    mlp_hidden: int
    head_width: int
    double_blocks: int
    single_blocks: int
    guidance: bool

    @property
    def heads(self) -> int:
        return self.hidden // self.head_width

    @property
    def rope_widths(self) -> tuple[int, int, int]:
        """Widths of the three position axes in a head: (16, 56, 56) for a head width of 128."""
        return self.head_width // 8, 7 * self.head_width // 16, 7 * self.head_width // 16

    @property
    def stacks(self) -> Stacks:
        """The blocks: first the double ones, then the single ones."""
        return Stacks(
            stacks=(
                Stack(name="double_blocks", kind="double", depth=self.double_blocks),
                Stack(name="single_blocks", kind="single", depth=self.single_blocks),
            ),
            fewer=fewer,
        )


def read_config(shapes: Mapping[str, tuple[int, ...]]) -> FluxConfig:
    """The config, derived from a file's shapes. Raises KeyError with the first key that the file lacks."""
    hidden, packed_channels = shapes["img_in.weight"]
    return FluxConfig(
        packed_channels=packed_channels,
        vector_width=shapes["vector_in.in_layer.weight"][1],
        text_width=shapes["txt_in.weight"][1],
        hidden=hidden,
        mlp_hidden=shapes["double_blocks.0.img_mlp.0.weight"][0],
        head_width=shapes["double_blocks.0.img_attn.norm.query_norm.scale"][0],
        double_blocks=_depth(shapes, "double_blocks"),
        single_blocks=_depth(shapes, "single_blocks"),
        guidance="guidance_in.in_layer.weight" in shapes,
    )


def _depth(keys: Iterable[str], name: str) -> int:
    found = (re.match(rf"{name}\.(\d+)\.", key) for key in keys)
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)


def shapes(config: FluxConfig) -> dict[str, tuple[int, ...]]:
    """Every key of the model with its shape."""
    hidden, mlp, head = config.hidden, config.mlp_hidden, config.head_width
    found: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norms(name: str) -> None:
        found[f"{name}.query_norm.scale"] = found[f"{name}.key_norm.scale"] = (head,)

    linear("img_in", config.packed_channels, hidden)
    linear("txt_in", config.text_width, hidden)
    embedded = {"time_in": TIME_FREQUENCIES, "vector_in": config.vector_width}
    embedded |= {"guidance_in": TIME_FREQUENCIES} if config.guidance else {}
    for name, inputs in embedded.items():
        linear(f"{name}.in_layer", inputs, hidden)
        linear(f"{name}.out_layer", hidden, hidden)
    for block in range(config.double_blocks):
        for side in ("img", "txt"):
            name = f"double_blocks.{block}.{side}"
            linear(f"{name}_mod.lin", hidden, 6 * hidden)
            linear(f"{name}_attn.qkv", hidden, 3 * hidden)
            norms(f"{name}_attn.norm")
            linear(f"{name}_attn.proj", hidden, hidden)
            linear(f"{name}_mlp.0", hidden, mlp)
            linear(f"{name}_mlp.2", mlp, hidden)
    for block in range(config.single_blocks):
        name = f"single_blocks.{block}"
        linear(f"{name}.linear1", hidden, 3 * hidden + mlp)
        linear(f"{name}.linear2", hidden + mlp, hidden)
        norms(f"{name}.norm")
        linear(f"{name}.modulation.lin", hidden, 3 * hidden)
    linear("final_layer.linear", hidden, config.packed_channels)
    linear("final_layer.adaLN_modulation.1", hidden, 2 * hidden)
    return found
