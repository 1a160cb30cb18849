# SPDX-License-Identifier: Apache-2.0
"""Widths and depths of CLIP-L and T5, derived from the shapes in their usual single files, and their keys.

No torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from library.files.safetensors_header import Shapes

CLIP_PREFIX = "text_model."
CLIP_HEAD_WIDTH = 64
# T5's embedding, the copy of it that many files have, and the prefix of the other keys.
T5_EMBEDDING, T5_COPY, T5_PREFIX = "shared.weight", "encoder.embed_tokens.weight", "encoder."


def clip_config(shapes: Shapes) -> dict[str, Any]:
    """CLIPTextConfig's arguments, derived from a file's shapes. Raises KeyError if a key is missing."""
    vocabulary, width = shapes["text_model.embeddings.token_embedding.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _layers(shapes, r"text_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": max(1, width // CLIP_HEAD_WIDTH),
        "max_position_embeddings": shapes["text_model.embeddings.position_embedding.weight"][0],
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def t5_config(shapes: Shapes) -> dict[str, Any]:
    """T5Config's arguments, derived from a file's shapes. Raises KeyError if a key is missing."""
    vocabulary, width = shapes["shared.weight"]
    first = "encoder.block.0.layer."
    buckets, heads = shapes[first + "0.SelfAttention.relative_attention_bias.weight"]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shapes[first + "0.SelfAttention.q.weight"][0] // heads,
        "d_ff": shapes[first + "1.DenseReluDense.wi_0.weight"][0],
        "num_layers": _layers(shapes, r"encoder\.block\.(\d+)\."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
        "use_cache": False,
    }


def clip_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes of CLIP-L's text encoder among those of a file, which may be a complete CLIP."""
    return {key: shape for key, shape in shapes.items() if key.startswith(CLIP_PREFIX)}


def t5_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes of T5's encoder among those of a file, which may have a decoder too. The embedding is listed
    once."""
    return {
        key: shape
        for key, shape in shapes.items()
        if key == T5_EMBEDDING or (key.startswith(T5_PREFIX) and key != T5_COPY)
    }


def _layers(keys: Iterable[str], pattern: str) -> int:
    found = (re.match(pattern, key) for key in keys)
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)


def clip_keys(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The keys of CLIP-L's file that are loaded, with their shapes."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    found: dict[str, tuple[int, ...]] = {
        "text_model.embeddings.token_embedding.weight": (config["vocab_size"], width),
        "text_model.embeddings.position_embedding.weight": (config["max_position_embeddings"], width),
    }

    def linear(name: str, inputs: int, outputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str) -> None:
        found[f"{name}.weight"] = found[f"{name}.bias"] = (width,)

    for layer in range(config["num_hidden_layers"]):
        name = f"text_model.encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{name}.self_attn.{part}", width, width)
        linear(f"{name}.mlp.fc1", width, inner)
        linear(f"{name}.mlp.fc2", inner, width)
        norm(f"{name}.layer_norm1")
        norm(f"{name}.layer_norm2")
    norm("text_model.final_layer_norm")
    return found


def t5_keys(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The keys of T5's encoder, with their shapes, without the copy of the embedding that many files have."""
    width, inner = config["d_model"], config["d_ff"]
    heads = config["num_heads"] * config["d_kv"]
    first = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    found: dict[str, tuple[int, ...]] = {
        T5_EMBEDDING: (config["vocab_size"], width),
        first: (config["relative_attention_num_buckets"], config["num_heads"]),
        "encoder.final_layer_norm.weight": (width,),
    }
    for block in range(config["num_layers"]):
        name = f"encoder.block.{block}.layer"
        found |= {f"{name}.0.SelfAttention.{part}.weight": (heads, width) for part in "qkv"}
        found[f"{name}.0.SelfAttention.o.weight"] = (width, heads)
        found[f"{name}.1.DenseReluDense.wi_0.weight"] = (inner, width)
        found[f"{name}.1.DenseReluDense.wi_1.weight"] = (inner, width)
        found[f"{name}.1.DenseReluDense.wo.weight"] = (width, inner)
        found |= {f"{name}.{part}.layer_norm.weight": (width,) for part in (0, 1)}
    return found
