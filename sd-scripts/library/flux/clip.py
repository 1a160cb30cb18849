# SPDX-License-Identifier: Apache-2.0
"""CLIP-L's text encoder: transformers' CLIPTextModel (its modules' names, its bits), without importing transformers.

Shape suffixes: B captions, T tokens, V the width, H heads, F a head's width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from library.flux.embedding import embedding


class Embeddings(nn.Module):
    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.token_embedding, self.position_embedding = embedding(vocabulary, width), embedding(positions, width)

    def forward(self, ids_BT: Tensor) -> Tensor:
        positions_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        embedded_BTV: Tensor = self.token_embedding(ids_BT) + self.position_embedding(positions_T)
        return embedded_BTV


class Attention(nn.Module):
    """Each token attends to itself and the tokens before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x_BTV: Tensor) -> Tensor:
        q_BHTF, k_BHTF, v_BHTF = (
            project(x_BTV).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed_BHTF = functional.scaled_dot_product_attention(q_BHTF, k_BHTF, v_BHTF, is_causal=True)
        mixed_BTV: Tensor = self.out_proj(mixed_BHTF.transpose(1, 2).flatten(-2))
        return mixed_BTV


class MLP(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x_BTV: Tensor) -> Tensor:
        inner = self.fc1(x_BTV)
        out_BTV: Tensor = self.fc2(inner * torch.sigmoid(1.702 * inner))  # an approximation of GELU
        return out_BTV


class Layer(nn.Module):
    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.layer_norm1 = nn.LayerNorm(width)
        self.mlp = MLP(width, inner)
        self.layer_norm2 = nn.LayerNorm(width)

    def forward(self, x_BTV: Tensor) -> Tensor:
        x_BTV = x_BTV + self.self_attn(self.layer_norm1(x_BTV))
        return x_BTV + self.mlp(self.layer_norm2(x_BTV))


class Encoder(nn.Module):
    def __init__(self, layers: int, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, inner, heads) for _ in range(layers))

    def forward(self, x_BTV: Tensor) -> Tensor:
        for layer in self.layers:
            x_BTV = layer(x_BTV)
        return x_BTV


class Clip(nn.Module):
    """CLIP's text encoder, up to the pooled vector."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config`: that of `encoder_config.clip_config`."""
        super().__init__()
        width = config["hidden_size"]
        self.vocabulary: int = config["vocab_size"]
        self.end: int = config["eos_token_id"]
        self.embeddings = Embeddings(self.vocabulary, config["max_position_embeddings"], width)
        self.encoder = Encoder(
            config["num_hidden_layers"], width, config["intermediate_size"], config["num_attention_heads"]
        )
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """The last layer's output at the first end token, (B, V)."""
        out_BTV = self.final_layer_norm(self.encoder(self.embeddings(ids_BT)))
        ends_B = (ids_BT == self.end).int().argmax(dim=-1)
        pooled_BV: Tensor = out_BTV[torch.arange(len(ids_BT), device=ids_BT.device), ends_B]
        return pooled_BV
