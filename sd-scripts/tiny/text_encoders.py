# SPDX-License-Identifier: Apache-2.0
"""Tiny random CLIP and T5 with the keys of the usual single files. They suffice to tell captions apart."""

from __future__ import annotations

import torch
from torch import Tensor

from library import randomness

CLIP_POSITIONS = 77
T5_LAYERS, T5_HEADS, T5_HEAD_WIDTH, T5_FEED_FORWARD, T5_BUCKETS = 2, 4, 16, 128, 32


class _Maker:
    """Collects tensors by key. Each random tensor is drawn from its own generator."""

    def __init__(self, purpose: str, seed: int) -> None:
        self.purpose, self.seed = purpose, seed
        self.tensors: dict[str, Tensor] = {}

    def normal(self, key: str, *shape: int, std: float) -> None:
        generator = randomness.generator(self.purpose, self.seed, key)
        self.tensors[key] = torch.randn(shape, generator=generator) * std

    def ones(self, key: str, width: int) -> None:
        self.tensors[key] = torch.ones(width)

    def zeros(self, key: str, width: int) -> None:
        self.tensors[key] = torch.zeros(width)

    def linear(self, key: str, inputs: int, outputs: int) -> None:
        self.normal(f"{key}.weight", outputs, inputs, std=inputs**-0.5)
        self.zeros(f"{key}.bias", outputs)

    def layer_norm(self, key: str, width: int) -> None:
        self.ones(f"{key}.weight", width)
        self.zeros(f"{key}.bias", width)


def build_clip(*, vocabulary: int, width: int, layers: int, seed: int) -> dict[str, Tensor]:
    """CLIP-L's text model in another size, by key."""
    made = _Maker("tiny clip", seed)
    made.normal("text_model.embeddings.token_embedding.weight", vocabulary, width, std=0.5)
    made.normal("text_model.embeddings.position_embedding.weight", CLIP_POSITIONS, width, std=0.1)
    for layer in range(layers):
        prefix = f"text_model.encoder.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            made.linear(f"{prefix}.self_attn.{name}", width, width)
        made.layer_norm(f"{prefix}.layer_norm1", width)
        made.linear(f"{prefix}.mlp.fc1", width, 4 * width)
        made.linear(f"{prefix}.mlp.fc2", 4 * width, width)
        made.layer_norm(f"{prefix}.layer_norm2", width)
    made.layer_norm("text_model.final_layer_norm", width)
    return made.tensors


def build_t5(*, vocabulary: int, width: int, seed: int) -> dict[str, Tensor]:
    """T5 v1.1's encoder in another size, by key. T5's attention has no scale, so q is drawn smaller."""
    made = _Maker("tiny t5", seed)
    made.normal("shared.weight", vocabulary, width, std=1.0)
    inner = T5_HEADS * T5_HEAD_WIDTH
    made.normal("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", T5_BUCKETS, T5_HEADS, std=0.5)
    for layer in range(T5_LAYERS):
        attention = f"encoder.block.{layer}.layer.0"
        made.normal(f"{attention}.SelfAttention.q.weight", inner, width, std=(width * T5_HEAD_WIDTH) ** -0.5)
        for name in ("k", "v"):
            made.normal(f"{attention}.SelfAttention.{name}.weight", inner, width, std=width**-0.5)
        made.normal(f"{attention}.SelfAttention.o.weight", width, inner, std=inner**-0.5)
        made.ones(f"{attention}.layer_norm.weight", width)
        mlp = f"encoder.block.{layer}.layer.1"
        for name in ("wi_0", "wi_1"):
            made.normal(f"{mlp}.DenseReluDense.{name}.weight", T5_FEED_FORWARD, width, std=width**-0.5)
        made.normal(f"{mlp}.DenseReluDense.wo.weight", width, T5_FEED_FORWARD, std=T5_FEED_FORWARD**-0.5)
        made.ones(f"{mlp}.layer_norm.weight", width)
    made.ones("encoder.final_layer_norm.weight", width)
    return made.tensors
