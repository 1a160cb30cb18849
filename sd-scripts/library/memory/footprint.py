# SPDX-License-Identifier: Apache-2.0
"""Estimates the GPU memory of a training and of its samples, part by part, in bytes, for each way of computing. Pure.

The peak of a step of the full-size FLUX.1 dev, followed tensor by tensor (tests/sd_scripts/memory/test_footprint.py),
is below the estimate by less than 5 % at usual ranks. The estimate is for uncompiled blocks; compiled ones keep less.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from library.family.sizes import BF16, FP32, BatchShape, TransformerSize

# What a block needs while it computes, forward or backward, in addition to what it keeps: bytes per token and hidden
# number. A step of the full-size model took 18; attention's backward pass on a GPU sums the queries' gradients in
# fp32 (4); the rest is for the allocator's rounding.
WORKING = 28
# For cuBLAS's workspaces, and for kernels, which are loaded at their first use.
RESERVE = 500_000_000


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The largest sample that is asked for: its pixels, its tokens (text included), the bytes of the autoencoder's
    weights, and those that it needs for each pixel when it decodes."""

    area: int
    tokens: int
    autoencoder: int
    decoding: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything about a training that its memory depends on.

    `lora`, `encoder_lora`: how many numbers the LoRA has on the transformer and on a text encoder. `copies`: how many
    times each of these is kept in fp32: itself, its gradient, the optimizer's moments, a moving average. `encoders`:
    bytes of text encoders that stay on the device. `encoder_kept`: bytes that a trained text encoder keeps for each
    picture. `inputs_on_host`: whether checkpointed blocks keep their inputs in the host's memory.
    """

    model: TransformerSize
    lora: int
    encoder_lora: int
    copies: int
    batch: BatchShape
    autocast: bool
    encoders: int = 0
    encoder_kept: int = 0
    inputs_on_host: bool = False
    sample: Sample | None = None

    @property
    def blocks(self) -> int:
        return self.model.stacks.blocks

    @property
    def width(self) -> int:
        """Bytes per number of the frozen models."""
        return BF16 if self.autocast else FP32


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A way of computing, by the choices that save memory (see `Choices`)."""

    base: str = "full"
    checkpointed_blocks: int = 0
    blocks_to_swap: int = 0


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes on the device at the peak of a step, and `samples`: how many more the samples take.

    `weights`: the frozen models. `training`: LoRA, gradients and the optimizer's state. `activations`: what is kept
    between forward and backward. `working`: what one block needs while it computes. `reserve`: memory outside the
    trainer's tensors.
    """

    weights: int
    training: int
    activations: int
    working: int
    reserve: int = RESERVE
    samples: int = 0

    @property
    def total(self) -> int:
        return sum(dataclasses.astuple(self))

    @property
    def step(self) -> int:
        return self.total - self.samples


def of(run: Run, tier: Tier) -> Footprint:
    """The footprint of the run if it is computed as the tier says."""
    found = Footprint(
        weights=_weights(run, tier) + run.encoders,
        training=(run.lora + run.encoder_lora) * run.copies * FP32,
        activations=_activations(run, tier) + run.batch.size * run.encoder_kept,
        working=_working(run, tier, run.batch.size * run.batch.tokens),
    )
    return dataclasses.replace(found, samples=max(0, _sampling(run, tier) - found.total))


def _sampling(run: Run, tier: Tier) -> int:
    """Bytes while a sample is made; 0 without samples.

    Between two steps there are no gradients and no activations. One picture at a time is denoised and then decoded,
    while the transformer stays on the device.
    """
    if run.sample is None:
        return 0
    trained = (run.lora + run.encoder_lora) * (run.copies - 1) * FP32
    making = max(
        _working(run, tier, run.sample.tokens),
        run.sample.autoencoder + run.sample.area * run.sample.decoding,
    )
    return _weights(run, tier) + run.encoders + trained + making + RESERVE


def on_host(run: Run, tier: Tier) -> int:
    """Bytes of the host's memory that are page-locked: all blocks that take turns, and inputs that are kept there."""
    in_turn = run.model.stacks.in_turn(tier.blocks_to_swap)
    swapped = sum(
        len(indices) * block.numbers.stored(tier.base, run.width)
        for indices, block in zip(in_turn, run.model.blocks, strict=True)
    )
    inputs = _input(run) * tier.checkpointed_blocks if run.inputs_on_host else 0
    return swapped + inputs


def _input(run: Run) -> int:
    """Bytes of one block's input: its tokens, picture and text together."""
    return run.batch.size * run.batch.tokens * run.model.hidden * run.width


def _weights(run: Run, tier: Tier) -> int:
    fewer = run.model.stacks.fewer(tier.blocks_to_swap)
    kinds = zip(run.model.stacks.stacks, fewer, run.model.blocks, strict=True)
    in_blocks = sum((stack.depth - away) * block.numbers.stored(tier.base, run.width) for stack, away, block in kinds)
    return in_blocks + run.model.rest.stored("full", run.width)


def _activations(run: Run, tier: Tier) -> int:
    """Bytes at the end of the forward pass, or when a checkpointed block is recomputed, whichever is more."""
    depths = [stack.depth for stack in run.model.stacks.stacks]
    per_rank = sum(depth * block.lora for depth, block in zip(depths, run.model.blocks, strict=True))
    kept = [block.kept(run.batch, rank=run.lora / per_rank, autocast=run.autocast) for block in run.model.blocks]
    checkpointed = _by_kind(tier.checkpointed_blocks, depths)
    # Of the inputs that are kept on the host, one is in use on the device while the next is being copied to it.
    inputs = _input(run) * (min(2, sum(checkpointed)) if run.inputs_on_host else sum(checkpointed))
    kinds = list(zip(depths, checkpointed, kept, strict=True))
    whole = sum((depth - again) * block for depth, again, block in kinds)
    again = max(block if number else 0 for _, number, block in kinds)
    # Autocast keeps its copies of LoRA's weights until the forward pass ends, even those of checkpointed blocks.
    casts = run.lora * run.width * tier.checkpointed_blocks // run.blocks if run.autocast else 0
    return inputs + max(whole, again) + casts


def _by_kind(number: int, depths: Sequence[int]) -> list[int]:
    """How many of the first `number` blocks are of each kind."""
    firsts = itertools.accumulate(depths, initial=0)
    return [min(max(number - first, 0), depth) for first, depth in zip(firsts, depths, strict=False)]


def _working(run: Run, tier: Tier, tokens: int) -> int:
    """Bytes that one block needs for this many tokens; with an fp8 base, also its largest matrix in the training's
    type."""
    dequantised = run.model.largest * run.width if tier.base == "fp8" else 0
    return tokens * run.model.hidden * WORKING + dequantised
