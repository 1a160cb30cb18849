# SPDX-License-Identifier: Apache-2.0
"""Estimates the GPU memory of a training and of its samples, part by part, in bytes, for each way of computing. Pure.

The peak of a step of the full-size FLUX.1 dev, followed tensor by tensor (tests/sd_scripts/memory/test_footprint.py),
is below the estimate by less than 5 % at usual ranks. The estimate is for uncompiled blocks; compiled ones keep less.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from library.flux import activations
from library.flux.activations import FP32, BatchShape
from library.flux.config import FluxConfig

BF16, FP8 = 2, 1
BLOCKS = ("double_blocks.", "single_blocks.")
# What a block needs while it computes, forward or backward, in addition to what it keeps: bytes per token and hidden
# number. A step of the full-size model took 18; attention's backward pass on a GPU sums the queries' gradients in
# fp32 (4); the rest is for the allocator's rounding.
WORKING = 28
# For cuBLAS's workspaces, and for kernels, which are loaded at their first use.
RESERVE = 500_000_000
# What a layer of CLIP-L keeps, in bytes per token and hidden number: about as much as a stream of a double block.
CLIP_KEPT, CLIP_TOKENS = 60, 77
# What Flux's autoencoder needs in addition to its weights, in fp32: bytes per pixel.
ENCODING, DECODING = 2650, 3200


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


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The largest sample that is asked for: its pixels, its tokens (text included), and the autoencoder's bytes."""

    area: int
    tokens: int
    autoencoder: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything about a training that its memory depends on.

    `largest`: the size of a block's largest matrix, in numbers. `lora`, `clip_lora`: how many numbers the LoRA has on
    the transformer and on CLIP-L. `copies`: how many times each of these is kept in fp32: itself, its gradient, the
    optimizer's moments, a moving average. `encoders`: bytes of text encoders that stay on the device.
    `clip_hidden_layers`: CLIP-L's hidden width times its layers, if it is trained. `inputs_on_host`: whether
    checkpointed blocks keep their inputs in the host's memory.
    """

    model: FluxConfig
    double: Numbers
    single: Numbers
    rest: Numbers
    largest: int
    lora: int
    clip_lora: int
    copies: int
    batch: BatchShape
    autocast: bool
    encoders: int = 0
    clip_hidden_layers: int = 0
    inputs_on_host: bool = False
    sample: Sample | None = None

    @property
    def blocks(self) -> int:
        return self.model.double_blocks + self.model.single_blocks

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


def numbers_of(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> Numbers:
    """The numbers under the keys of a file that begin with `prefix`."""
    part = [shape for key, shape in shapes.items() if key.startswith(prefix)]
    matrices = [shape for shape in part if len(shape) == 2]
    return Numbers(
        all=sum(map(math.prod, part)),
        matrices=sum(map(math.prod, matrices)),
        rows=sum(shape[0] for shape in matrices),
    )


def outside_blocks(shapes: Mapping[str, tuple[int, ...]]) -> Numbers:
    """The numbers outside the blocks, which an fp8 base leaves in the training's type."""
    outside = [shape for key, shape in shapes.items() if not key.startswith(BLOCKS)]
    return Numbers(all=sum(map(math.prod, outside)))


def largest_matrix(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many numbers a block's largest matrix has."""
    return max((math.prod(shape) for key, shape in shapes.items() if key.startswith(BLOCKS)), default=0)


def of(run: Run, tier: Tier) -> Footprint:
    """The footprint of the run if it is computed as the tier says."""
    found = Footprint(
        weights=_weights(run, tier) + run.encoders,
        training=(run.lora + run.clip_lora) * run.copies * FP32,
        activations=_activations(run, tier) + run.batch.size * CLIP_TOKENS * CLIP_KEPT * run.clip_hidden_layers,
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
    trained = (run.lora + run.clip_lora) * (run.copies - 1) * FP32
    making = max(
        _working(run, tier, run.sample.tokens),
        run.sample.autoencoder + run.sample.area * DECODING,
    )
    return _weights(run, tier) + run.encoders + trained + making + RESERVE


def on_host(run: Run, tier: Tier) -> int:
    """Bytes of the host's memory that are page-locked: all blocks that take turns, and inputs that are kept there."""
    double, single = (len(indices) for indices in run.model.stacks.in_turn(tier.blocks_to_swap))
    sizes = (run.double.stored(tier.base, run.width), run.single.stored(tier.base, run.width))
    inputs = _input(run) * tier.checkpointed_blocks if run.inputs_on_host else 0
    return double * sizes[0] + single * sizes[1] + inputs


def _input(run: Run) -> int:
    """Bytes of one block's input: its tokens, picture and text together."""
    return run.batch.size * run.batch.tokens * run.model.hidden * run.width


def _weights(run: Run, tier: Tier) -> int:
    double, single = run.model.stacks.fewer(tier.blocks_to_swap)
    return (
        (run.model.double_blocks - double) * run.double.stored(tier.base, run.width)
        + (run.model.single_blocks - single) * run.single.stored(tier.base, run.width)
        + run.rest.stored("full", run.width)
    )


def _activations(run: Run, tier: Tier) -> int:
    """Bytes at the end of the forward pass, or when a checkpointed block is recomputed, whichever is more."""
    model = run.model
    per_rank = model.double_blocks * activations.double_numbers(model)
    per_rank += model.single_blocks * activations.single_numbers(model)
    kept = activations.of_blocks(model, run.batch, rank=run.lora / per_rank, autocast=run.autocast)
    double = min(tier.checkpointed_blocks, model.double_blocks)
    single = tier.checkpointed_blocks - double
    # Of the inputs that are kept on the host, one is in use on the device while the next is being copied to it.
    inputs = _input(run) * (min(2, double + single) if run.inputs_on_host else double + single)
    whole = (model.double_blocks - double) * kept.double + (model.single_blocks - single) * kept.single
    again = max(kept.double if double else 0, kept.single if single else 0)
    # Autocast keeps its copies of LoRA's weights until the forward pass ends, even those of checkpointed blocks.
    casts = run.lora * run.width * tier.checkpointed_blocks // run.blocks if run.autocast else 0
    return inputs + max(whole, again) + casts


def _working(run: Run, tier: Tier, tokens: int) -> int:
    """Bytes that one block needs for this many tokens; with an fp8 base, also its largest matrix in the training's
    type."""
    dequantised = run.largest * run.width if tier.base == "fp8" else 0
    return tokens * run.model.hidden * WORKING + dequantised
