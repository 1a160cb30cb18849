# SPDX-License-Identifier: Apache-2.0
"""An analytic, untrained autoencoder in the LDM/BFL layout: latents 0 to 2 are the mean colours of 8x8 squares.

How a mean x passes the norms: the four channels of one GroupNorm group carry x + K, -x + K, x - K and -x - K. Their
mean is 0 and their standard deviation is about K, since x is small, so the norm preserves x and its spatial mean. The
last residual block adds the offsets K; the output norm scales by K and shifts by B - K, SiLU leaves x + B unchanged,
and the last convolution subtracts B. All other weights are zero, so the residual blocks pass their input through.
Needs fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

WIDTH = 128
LEVELS = 4
K, B = 200.0, 20.0
# Doubles the latents, so that their spread is near 1, as in Flux's own autoencoder.
GAIN = 2.0
LOG_VARIANCE = -12.0
CHANNELS_PER_GROUP = WIDTH // 32
COLOURS = 3


def build(*, latent_channels: int) -> dict[str, Tensor]:
    """All tensors by key."""
    shapes = _shapes(latent_channels)
    tensors = {
        key: torch.ones(shape) if "norm" in key and key.endswith("weight") else torch.zeros(shape)
        for key, shape in shapes.items()
    }
    _spread(tensors, "encoder.conv_in.weight", "encoder.mid.block_2.conv2.bias", 1.0)
    for level in range(LEVELS - 1):
        _each_channel(tensors[f"encoder.down.{level}.downsample.conv.weight"], _mean_of_2x2())
    _gather(tensors, "encoder", gain=GAIN)
    tensors["encoder.conv_out.bias"][latent_channels:] = LOG_VARIANCE
    _spread(tensors, "decoder.conv_in.weight", "decoder.up.0.block.1.conv2.bias", 1 / GAIN)
    for level in range(1, LEVELS):
        _each_channel(tensors[f"decoder.up.{level}.upsample.conv.weight"], _binomial_3x3())
    _gather(tensors, "decoder", gain=1.0)
    return {key: tensor.contiguous() for key, tensor in tensors.items()}


def _spread(tensors: dict[str, Tensor], convolution: str, offsets: str, gain: float) -> None:
    """Writes each colour into the four channels of its group, and the offsets K into the bias `offsets`."""
    for colour in range(COLOURS):
        for place, (sign, offset) in enumerate(((1, K), (-1, K), (1, -K), (-1, -K))):
            channel = CHANNELS_PER_GROUP * colour + place
            tensors[convolution][channel, colour, 1, 1] = sign * gain
            tensors[offsets][channel] = offset


def _gather(tensors: dict[str, Tensor], half: str, *, gain: float) -> None:
    """Turns the first channel of each group back into a colour."""
    tensors[f"{half}.norm_out.weight"].fill_(K)
    tensors[f"{half}.norm_out.bias"].fill_(B - K)
    for colour in range(COLOURS):
        tensors[f"{half}.conv_out.weight"][colour, CHANNELS_PER_GROUP * colour, 1, 1] = gain
        tensors[f"{half}.conv_out.bias"][colour] = -gain * B


def _each_channel(weight: Tensor, kernel: Tensor) -> None:
    for channel in range(CHANNELS_PER_GROUP * COLOURS):
        weight[channel, channel] = kernel


def _mean_of_2x2() -> Tensor:
    kernel = torch.zeros(3, 3)
    kernel[:2, :2] = 0.25
    return kernel


def _binomial_3x3() -> Tensor:
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    return row[:, None] * row[None, :]


def _shapes(latent_channels: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of an autoencoder with 4 levels of one width: per level, one residual block in the encoder and
    two in the decoder."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(key: str, inputs: int, outputs: int, side: int) -> None:
        shapes[f"{key}.weight"] = (outputs, inputs, side, side)
        shapes[f"{key}.bias"] = (outputs,)

    def norm(key: str) -> None:
        shapes[f"{key}.weight"] = shapes[f"{key}.bias"] = (WIDTH,)

    def residual(key: str) -> None:
        for place in ("1", "2"):
            norm(f"{key}.norm{place}")
            convolution(f"{key}.conv{place}", WIDTH, WIDTH, 3)

    def middle(half: str) -> None:
        residual(f"{half}.mid.block_1")
        norm(f"{half}.mid.attn_1.norm")
        for name in ("q", "k", "v", "proj_out"):
            convolution(f"{half}.mid.attn_1.{name}", WIDTH, WIDTH, 1)
        residual(f"{half}.mid.block_2")

    convolution("encoder.conv_in", COLOURS, WIDTH, 3)
    convolution("decoder.conv_in", latent_channels, WIDTH, 3)
    for level in range(LEVELS):
        residual(f"encoder.down.{level}.block.0")
        if level < LEVELS - 1:
            convolution(f"encoder.down.{level}.downsample.conv", WIDTH, WIDTH, 3)
        for block in range(2):
            residual(f"decoder.up.{level}.block.{block}")
        if level > 0:
            convolution(f"decoder.up.{level}.upsample.conv", WIDTH, WIDTH, 3)
    for half, outputs in (("encoder", 2 * latent_channels), ("decoder", COLOURS)):
        middle(half)
        norm(f"{half}.norm_out")
        convolution(f"{half}.conv_out", WIDTH, outputs, 3)
    return shapes
