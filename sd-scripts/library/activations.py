# SPDX-License-Identifier: Apache-2.0
"""What autograd keeps of each block between forward and backward, in bytes. Pure.

Counted from the block's own tensors as it is computed eagerly on a GPU (`flux_model`), LoRA on each of its Linears;
tests/trainer/test_activations.py compares every figure with what autograd saves of a real block, and the sums with a
whole step of the full-size model. A compiled block keeps less, so these are upper bounds for it.

A token is one of the sequence, text and picture together. What frozen Linears are given is not kept, since their
weights need no gradient; what LoRA's down matrices are given is. Under autocast GPUs compute a layer norm in fp32.
"""

from __future__ import annotations

from dataclasses import dataclass

from library.flux_model import FluxConfig

FP32 = 4
# Linears of a block: those that see tokens, of one stream, and those that see the picture's vector.
DOUBLE_TOKEN_LINEARS, SINGLE_TOKEN_LINEARS = 4, 2


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The largest batch of a training. `tokens`: of one picture, its text included."""

    size: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Bytes of one block of a kind, in one batch."""

    double: int
    single: int


def of_blocks(model: FluxConfig, batch: Batch, *, rank: float, autocast: bool) -> Saved:
    """What a block keeps under bf16 autocast, or in fp32 without it. `rank`: the LoRA's mean rank."""
    width = 2 if autocast else FP32
    return Saved(double=_double(model, batch, rank, width), single=_single(model, batch, rank, width))


def _double(model: FluxConfig, batch: Batch, rank: float, width: int) -> int:
    tokens = batch.size * batch.tokens
    hidden, mlp = model.hidden, model.mlp_hidden
    per_token = (
        2 * _norm(hidden, width)
        + _query_key_norm(model, width, beside=hidden)
        + 4 * hidden * width  # queries, keys, values and what attention gives
        + model.heads * FP32  # attention's log-sum-exp
        + hidden * width  # the same as the projection's input, tokens first
        + 2 * mlp * width  # before and after GELU
        + 2 * hidden * width  # what the two gates are multiplied with
        + DOUBLE_TOKEN_LINEARS * rank * width
    )
    vectors = 2 * batch.size * _modulation(model, rank, width, parts=6, norms=2)
    return round(tokens * per_token + vectors + _lora_cast(double_numbers(model), rank, width))


def _single(model: FluxConfig, batch: Batch, rank: float, width: int) -> int:
    tokens = batch.size * batch.tokens
    hidden, mlp = model.hidden, model.mlp_hidden
    per_token = (
        _norm(hidden, width)
        # The first Linear's output is kept whole: its values are seen by attention, its MLP part by GELU.
        + _query_key_norm(model, width, beside=None)
        + (3 * hidden + mlp) * width
        + 3 * hidden * width  # queries, keys and what attention gives
        + model.heads * FP32
        + (hidden + mlp) * width  # the second Linear's input
        + hidden * width  # what the gate is multiplied with
        + SINGLE_TOKEN_LINEARS * rank * width
    )
    vectors = batch.size * _modulation(model, rank, width, parts=3, norms=1)
    return round(tokens * per_token + vectors + _lora_cast(single_numbers(model), rank, width))


def _norm(hidden: int, width: int) -> int:
    """A layer norm, its modulation, and the Linear behind both: input and output in fp32, mean and deviation."""
    return hidden * (2 * FP32 + width) + 2 * FP32


def _query_key_norm(model: FluxConfig, width: int, *, beside: int | None) -> int:
    """The norms of queries and keys compute in fp32. Where that is the training's type nothing is cast, and what is
    kept is the Linear's whole output: `beside` of it is the values' part, None where it is counted elsewhere."""
    statistics = 2 * model.heads * FP32
    if width == FP32:
        return statistics if beside is None else (2 * model.hidden + beside) * FP32 + statistics
    return 2 * model.hidden * FP32 + statistics


def _modulation(model: FluxConfig, rank: float, width: int, *, parts: int, norms: int) -> float:
    """Of one picture: SiLU's output, the Linear's, 1 + scale for each norm, and LoRA's middle."""
    return (1 + parts + norms) * model.hidden * width + rank * width


def _lora_cast(numbers: int, rank: float, width: int) -> float:
    """Autocast's copies of LoRA's weights."""
    return 0 if width == FP32 else numbers * rank * width


def double_numbers(model: FluxConfig) -> int:
    """LoRA's numbers on a double block, for each rank: in + out of each Linear."""
    hidden, mlp = model.hidden, model.mlp_hidden
    return 2 * ((hidden + 6 * hidden) + (hidden + 3 * hidden) + (hidden + hidden) + 2 * (hidden + mlp))


def single_numbers(model: FluxConfig) -> int:
    """LoRA's numbers on a single block, for each rank."""
    hidden, mlp = model.hidden, model.mlp_hidden
    return (hidden + 3 * hidden) + (hidden + 3 * hidden + mlp) + (2 * hidden + mlp)
