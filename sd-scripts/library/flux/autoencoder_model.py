# SPDX-License-Identifier: Apache-2.0
"""The modules of Flux's autoencoder, with the names of ae.safetensors (the LDM/BFL layout). They compute what
diffusers' AutoencoderKL computes, to the bit, without importing diffusers.

Shape suffixes: B pictures, H W pixels or what is left of them, C channels, L places (H times W).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS, EPSILON, RGB = 32, 1e-6, 3


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, width, eps=EPSILON)


class Block(nn.Module):
    """Two convolutions beside a path around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(outputs)
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)
        self.changes_width = inputs != outputs

    def forward(self, x_BCHW: Tensor) -> Tensor:
        new_BCHW = self.conv1(functional.silu(self.norm1(x_BCHW)))
        new_BCHW = self.conv2(functional.silu(self.norm2(new_BCHW)))
        if self.changes_width:
            x_BCHW = self.nin_shortcut(x_BCHW)
        return x_BCHW + new_BCHW


class Attention(nn.Module):
    """Each place attends to all places. The file has 1x1 convolutions, of which these are the matrices."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.q, self.k = nn.Linear(width, width), nn.Linear(width, width)
        self.v, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BLC = self.norm(x_BCHW.flatten(2)).transpose(1, 2)
        q_B1LC, k_B1LC, v_B1LC = (project(x_BLC)[:, None] for project in (self.q, self.k, self.v))
        mixed_BLC = functional.scaled_dot_product_attention(q_B1LC, k_B1LC, v_B1LC)[:, 0]
        return x_BCHW + self.proj_out(mixed_BLC).transpose(1, 2).reshape(x_BCHW.shape)


class Middle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = Block(width, width), Attention(width), Block(width, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        middle_BCHW: Tensor = self.block_2(self.attn_1(self.block_1(x_BCHW)))
        return middle_BCHW


class Downsample(nn.Module):
    """Halves height and width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        smaller_BCHW: Tensor = self.conv(functional.pad(x_BCHW, (0, 1, 0, 1)))
        return smaller_BCHW


class Upsample(nn.Module):
    """Doubles height and width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        larger_BCHW: Tensor = self.conv(functional.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))
        return larger_BCHW


class Level(nn.Module):
    """Blocks at one resolution, and the way to the next one, unless this is the last one."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int, then: str, way: nn.Module | None) -> None:
        """`then`: the file's name of the way."""
        super().__init__()
        widths = [inputs] + [outputs] * blocks
        self.block = nn.ModuleList(Block(*pair) for pair in pairwise(widths))
        self.then = then if way is not None else None
        if way is not None:
            self.add_module(then, way)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for block in self.block:
            x_BCHW = block(x_BCHW)
        return self.get_submodule(self.then)(x_BCHW) if self.then else x_BCHW


class Encoder(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths = config["block_out_channels"]
        self.conv_in = nn.Conv2d(RGB, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            Level(
                widths[max(level - 1, 0)],
                width,
                blocks=config["layers_per_block"],
                then="downsample",
                way=Downsample(width) if level < len(widths) - 1 else None,
            )
            for level, width in enumerate(widths)
        )
        self.mid = Middle(widths[-1])
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 2 * config["latent_channels"], 3, padding=1)

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """The mean and the logarithm of the variance, one after the other in the channels."""
        x_BCHW = self.conv_in(pixels_B3HW)
        for level in self.down:
            x_BCHW = level(x_BCHW)
        out_BCHW: Tensor = self.conv_out(functional.silu(self.norm_out(self.mid(x_BCHW))))
        return out_BCHW


class Decoder(nn.Module):
    """The file counts its levels from the finest, where it ends."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths = config["block_out_channels"]
        self.conv_in = nn.Conv2d(config["latent_channels"], widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            Level(
                widths[min(level + 1, len(widths) - 1)],
                width,
                blocks=config["layers_per_block"] + 1,
                then="upsample",
                way=Upsample(width) if level else None,
            )
            for level, width in enumerate(widths)
        )
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], RGB, 3, padding=1)

    def forward(self, latents_BCHW: Tensor) -> Tensor:
        x_BCHW = self.mid(self.conv_in(latents_BCHW))
        for level in reversed(self.up):
            x_BCHW = level(x_BCHW)
        pixels_B3HW: Tensor = self.conv_out(functional.silu(self.norm_out(x_BCHW)))
        return pixels_B3HW


class AutoencoderModel(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config`: that of `autoencoder_config.read_config`."""
        super().__init__()
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    def encode(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents."""
        mean_BCHW, log_variance_BCHW = self.encoder(pixels_B3HW).chunk(2, dim=1)
        return mean_BCHW, torch.exp(0.5 * log_variance_BCHW.clamp(-30.0, 20.0))

    def decode(self, latents_BCHW: Tensor) -> Tensor:
        pixels_B3HW: Tensor = self.decoder(latents_BCHW)
        return pixels_B3HW
