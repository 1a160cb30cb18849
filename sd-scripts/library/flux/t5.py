# SPDX-License-Identifier: Apache-2.0
"""T5 v1.1's encoder: transformers' T5EncoderModel (its modules' names, its bits), without importing transformers.

Shape suffixes: B captions, T tokens, X the width, H heads, F a head's width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from library.flux.embedding import embedding

FARTHEST = 128
"""From this distance on, all tokens have the same bias."""


class RMSNorm(nn.Module):
    """Computes the mean square in fp32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_BTX: Tensor) -> Tensor:
        square_BT1 = x_BTX.float().pow(2).mean(-1, keepdim=True)
        return self.weight * (x_BTX * torch.rsqrt(square_BT1 + 1e-6)).to(self.weight.dtype)


class SelfAttention(nn.Module):
    """Attention without a scale. The first layer's has the bias by distance, which all layers share."""

    def __init__(self, config: Mapping[str, Any], *, has_bias: bool) -> None:
        super().__init__()
        width, self.heads = config["d_model"], config["num_heads"]
        inner = self.heads * config["d_kv"]
        self.q, self.k = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.v, self.o = nn.Linear(width, inner, bias=False), nn.Linear(inner, width, bias=False)
        if has_bias:
            self.relative_attention_bias = embedding(config["relative_attention_num_buckets"], self.heads)

    def bias(self, tokens: int) -> Tensor:
        """What is added to the scores, (1, H, T, T)."""
        table = self.relative_attention_bias.weight
        place_T = torch.arange(tokens, device=table.device)
        buckets_TT = bucket_of(place_T[None, :] - place_T[:, None], buckets=len(table))
        bias_1HTT: Tensor = self.relative_attention_bias(buckets_TT).permute(2, 0, 1)[None].contiguous()
        return bias_1HTT

    def forward(self, x_BTX: Tensor, bias_1HTT: Tensor) -> Tensor:
        q_BHTF, k_BHTF, v_BHTF = (
            project(x_BTX).unflatten(-1, (self.heads, -1)).transpose(1, 2) for project in (self.q, self.k, self.v)
        )
        mixed_BHTF = functional.scaled_dot_product_attention(q_BHTF, k_BHTF, v_BHTF, attn_mask=bias_1HTT, scale=1.0)
        mixed_BTX: Tensor = self.o(mixed_BHTF.transpose(1, 2).flatten(-2))
        return mixed_BTX


def bucket_of(distance: Tensor, *, buckets: int) -> Tensor:
    """The bucket of each distance (key minus query): one half of the buckets for each direction. In each half, one
    half has single distances, and the other half has logarithmic ranges up to `FARTHEST`."""
    half = buckets // 2
    single = half // 2
    far = distance.abs()
    share = torch.log(far.float() / single) / math.log(FARTHEST / single)
    ranged = (single + (share * (half - single)).to(torch.long)).clamp(max=half - 1)
    return (distance > 0).to(torch.long) * half + torch.where(far < single, far, ranged)


class AttentionLayer(nn.Module):
    def __init__(self, config: Mapping[str, Any], *, has_bias: bool) -> None:
        super().__init__()
        self.SelfAttention = SelfAttention(config, has_bias=has_bias)
        self.layer_norm = RMSNorm(config["d_model"])

    def forward(self, x_BTX: Tensor, bias_1HTT: Tensor) -> Tensor:
        return x_BTX + self.SelfAttention(self.layer_norm(x_BTX), bias_1HTT)


class GatedMLP(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.wi_0, self.wi_1 = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.wo = nn.Linear(inner, width, bias=False)

    def forward(self, x_BTX: Tensor) -> Tensor:
        gate = self.wi_0(x_BTX)
        # GELU by tanh, in transformers' order of operations.
        gelu = 0.5 * gate * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (gate + 0.044715 * torch.pow(gate, 3.0))))
        out_BTX: Tensor = self.wo(gelu * self.wi_1(x_BTX))
        return out_BTX


class MLPLayer(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.DenseReluDense = GatedMLP(width, inner)
        self.layer_norm = RMSNorm(width)

    def forward(self, x_BTX: Tensor) -> Tensor:
        return x_BTX + self.DenseReluDense(self.layer_norm(x_BTX))


class Block(nn.Module):
    def __init__(self, config: Mapping[str, Any], *, has_bias: bool) -> None:
        super().__init__()
        attention = AttentionLayer(config, has_bias=has_bias)
        self.layer = nn.ModuleList([attention, MLPLayer(config["d_model"], config["d_ff"])])

    def forward(self, x_BTX: Tensor, bias_1HTT: Tensor) -> Tensor:
        attention, mlp = self.layer
        out_BTX: Tensor = mlp(attention(x_BTX, bias_1HTT))
        return out_BTX


class Encoder(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.block = nn.ModuleList(Block(config, has_bias=index == 0) for index in range(config["num_layers"]))
        self.final_layer_norm = RMSNorm(config["d_model"])

    def forward(self, x_BTX: Tensor) -> Tensor:
        first: Any = self.block[0]
        bias_1HTT = first.layer[0].SelfAttention.bias(x_BTX.shape[1])
        for block in self.block:
            x_BTX = block(x_BTX, bias_1HTT)
        out_BTX: Tensor = self.final_layer_norm(x_BTX)
        return out_BTX


class T5(nn.Module):
    """T5's encoder."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config`: that of `encoder_config.t5_config`."""
        super().__init__()
        self.vocabulary: int = config["vocab_size"]
        self.shared = embedding(self.vocabulary, config["d_model"])
        self.encoder = Encoder(config)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """The last layer's output for all tokens, (B, T, X), without a mask."""
        out_BTX: Tensor = self.encoder(self.shared(ids_BT))
        return out_BTX
