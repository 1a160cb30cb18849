# SPDX-License-Identifier: Apache-2.0
"""The bytes that autograd keeps of each block between forward and backward. Pure.

They are counted from the tensors of a block that runs uncompiled on a GPU (`flux.model`), with a LoRA on each of its
Linears. tests/sd_scripts/flux/test_activations.py compares every figure with what autograd saves of a real block;
tests/sd_scripts/memory/test_footprint.py compares the sums with a complete step of the full-size model. A compiled
block keeps less, so these are upper bounds for it.

Tokens are those of the complete sequence, text and picture together. The inputs of frozen Linears are not kept, since
their weights need no gradient; the inputs of LoRA's down matrices are. Under autocast, GPUs compute a layer norm in
fp32.
"""

from __future__ import annotations

from library.family.sizes import BF16, FP32, BatchShape
from library.flux.config import FluxConfig

# Linears of a block whose input is tokens (of a double block: in each of its two streams).
DOUBLE_TOKEN_LINEARS, SINGLE_TOKEN_LINEARS = 4, 2


def double(model: FluxConfig, batch: BatchShape, *, rank: float, autocast: bool) -> int:
    """The bytes that a double block keeps, under bf16 autocast or in fp32 without it. `rank`: the LoRA's mean
    rank."""
    width = BF16 if autocast else FP32
    tokens = batch.size * batch.tokens
    hidden, mlp = model.hidden, model.mlp_hidden
    per_token = (
        2 * _norm(hidden, width)
        + _query_key_norm(model, width, beside=hidden)
        + 4 * hidden * width  # queries, keys, values and attention's output
        + model.heads * FP32  # attention's log-sum-exp
        + hidden * width  # attention's output again, transposed, as the projection's input
        + 2 * mlp * width  # before and after GELU
        + 2 * hidden * width  # what the two gates multiply
        + DOUBLE_TOKEN_LINEARS * rank * width
    )
    vectors = 2 * batch.size * _modulation(model, rank, width, parts=6, norms=2)
    return round(tokens * per_token + vectors + _lora_cast(double_numbers(model), rank, width))


def single(model: FluxConfig, batch: BatchShape, *, rank: float, autocast: bool) -> int:
    """The bytes that a single block keeps, under bf16 autocast or in fp32 without it. `rank`: the LoRA's mean
    rank."""
    width = BF16 if autocast else FP32
    tokens = batch.size * batch.tokens
    hidden, mlp = model.hidden, model.mlp_hidden
    per_token = (
        _norm(hidden, width)
        # The first Linear's output is kept complete: attention uses the values in it, GELU the MLP part.
        + _query_key_norm(model, width, beside=None)
        + (3 * hidden + mlp) * width
        + 3 * hidden * width  # queries, keys and attention's output
        + model.heads * FP32
        + (hidden + mlp) * width  # the second Linear's input
        + hidden * width  # what the gate multiplies
        + SINGLE_TOKEN_LINEARS * rank * width
    )
    vectors = batch.size * _modulation(model, rank, width, parts=3, norms=1)
    return round(tokens * per_token + vectors + _lora_cast(single_numbers(model), rank, width))


def _norm(hidden: int, width: int) -> int:
    """Bytes per token of a layer norm, its modulation, and the input of the LoRA behind them.

    The norm keeps its input and output in fp32, and a mean and a deviation.
    """
    return hidden * (2 * FP32 + width) + 2 * FP32


def _query_key_norm(model: FluxConfig, width: int, *, beside: int | None) -> int:
    """Bytes per token of the norms of queries and keys, which compute in fp32.

    If fp32 is the training's type, nothing is cast, and the Linear's complete output is kept instead. `beside`: the
    width of the values' part of that output, or None if the output is counted elsewhere.
    """
    statistics = 2 * model.heads * FP32
    if width == FP32:
        return statistics if beside is None else (2 * model.hidden + beside) * FP32 + statistics
    return 2 * model.hidden * FP32 + statistics


def _modulation(model: FluxConfig, rank: float, width: int, *, parts: int, norms: int) -> float:
    """Bytes per picture: SiLU's output, the Linear's, 1 + scale for each norm, and the output of LoRA's down."""
    return (1 + parts + norms) * model.hidden * width + rank * width


def _lora_cast(numbers: int, rank: float, width: int) -> float:
    """Bytes of the copies that autocast makes of LoRA's weights."""
    return 0 if width == FP32 else numbers * rank * width


def double_numbers(model: FluxConfig) -> int:
    """How many numbers a LoRA on a double block has per rank: inputs + outputs of each Linear."""
    hidden, mlp = model.hidden, model.mlp_hidden
    return 2 * ((hidden + 6 * hidden) + (hidden + 3 * hidden) + (hidden + hidden) + 2 * (hidden + mlp))


def single_numbers(model: FluxConfig) -> int:
    """How many numbers a LoRA on a single block has per rank."""
    hidden, mlp = model.hidden, model.mlp_hidden
    return (hidden + 3 * hidden) + (hidden + 3 * hidden + mlp) + (2 * hidden + mlp)
