# SPDX-License-Identifier: Apache-2.0
"""The sizes of a job's models, from which `memory` estimates what a training needs. Pure, and without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from library.compute.swap_order import Stacks
from library.files.safetensors_header import Shapes

FP32, BF16, FP8 = 4, 2, 1


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """The largest batch of a training. `tokens`: the sequence length of one picture, its text included."""

    size: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """How many numbers a part of a model has. `matrices`: those in matrices, which an fp8 base keeps in 8 bits;
    `rows`: the rows of these matrices, each of which then has a scale."""

    all: int = 0
    matrices: int = 0
    rows: int = 0

    def stored(self, base: str, width: int) -> int:
        """Bytes on the device, with this base and `width` bytes per number elsewhere."""
        if base == "fp8":
            return self.matrices * FP8 + self.rows * FP32 + (self.all - self.matrices) * width
        return self.all * width


class Kept(Protocol):
    """The bytes that autograd keeps of a block, uncompiled, between forward and backward."""

    def __call__(self, batch: BatchShape, *, rank: float, autocast: bool) -> int:
        """`rank`: the LoRA's mean rank; `autocast`: whether the training computes under bf16 autocast."""


@dataclass(frozen=True, kw_only=True)
class BlockSize:
    """The size of each block of one kind. `lora`: how many numbers a LoRA on all its Linears has for each rank."""

    numbers: Numbers
    lora: int
    kept: Kept


@dataclass(frozen=True, kw_only=True)
class TransformerSize:
    """The size of a transformer. `hidden`: its width; `blocks`: one entry for each kind of `stacks`; `rest`: what is
    outside the blocks; `largest`: the size of a block's largest matrix, in numbers; `latents_per_token`: how many
    latents (of all channels) make a token."""

    hidden: int
    stacks: Stacks
    blocks: tuple[BlockSize, ...]
    rest: Numbers
    largest: int
    latents_per_token: int


@dataclass(frozen=True, kw_only=True)
class AutoencoderSize:
    """The size of an autoencoder, which computes in fp32. `encoding`, `decoding`: bytes for each pixel in addition to
    the weights; `pixels`: the side of a latent's square, in pixels; `channels`: those of a latent."""

    numbers: int
    encoding: int
    decoding: int
    pixels: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class TextSize:
    """The size of the text encoders. `numbers`: of all of them; `trained`: of the one that can get a LoRA; `kept`:
    bytes that autograd keeps of that one for each text; `tokens`: how many tokens a text adds to a picture's;
    `cached`: bytes of one encoded text."""

    numbers: int
    trained: int
    kept: int
    tokens: int
    cached: int


def numbers_of(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> Numbers:
    """The numbers under the keys of a file that begin with `prefix`."""
    part = [shape for key, shape in shapes.items() if key.startswith(prefix)]
    matrices = [shape for shape in part if len(shape) == 2]
    return Numbers(
        all=sum(map(math.prod, part)),
        matrices=sum(map(math.prod, matrices)),
        rows=sum(shape[0] for shape in matrices),
    )


def transformer(
    shapes: Shapes,
    stacks: Stacks,
    *,
    hidden: int,
    latents_per_token: int,
    loras: tuple[int, ...],
    kept: tuple[Kept, ...],
) -> TransformerSize:
    """The size of the transformer whose tensors have these shapes. `loras`, `kept`: as in `BlockSize`, by kind."""
    blocks = tuple(
        BlockSize(numbers=numbers_of(shapes, f"{stack.name}.0."), lora=lora, kept=of_block)
        for stack, lora, of_block in zip(stacks.stacks, loras, kept, strict=True)
    )
    inside = {key: math.prod(shape) for key, shape in shapes.items() if key.startswith(stacks.prefixes)}
    outside = (math.prod(shape) for key, shape in shapes.items() if key not in inside)
    return TransformerSize(
        hidden=hidden,
        stacks=stacks,
        blocks=blocks,
        # An fp8 base leaves what is outside the blocks in the training's type, so its matrices do not count.
        rest=Numbers(all=sum(outside)),
        largest=max(inside.values(), default=0),
        latents_per_token=latents_per_token,
    )
