# SPDX-License-Identifier: Apache-2.0
"""CLIP-L and T5 from transformers, built from the shapes in their usual single files, without any config file.

transformers 5 dropped CLIP's `text_model.` prefix, which the files (and kohya's LoRA names) keep: it is taken off
here. transformers is imported inside the functions, since a run with warm caches needs none of it (1 s, 145 MB).

Shape suffixes: B captions, T tokens, X T5's width, V CLIP's width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from library import safetensors_file
from library.errors import TrainerError
from library.safetensors_file import Shapes
from library.tokenization import CLIP_LENGTH

CLIP_PREFIX = "text_model."
CLIP_HEAD_WIDTH = 64
# T5's embedding, which many files have twice, and what its other keys begin with.
T5_EMBEDDING, T5_COPY, T5_PREFIX = "shared.weight", "encoder.embed_tokens.weight", "encoder."


def clip_config(shapes: Shapes) -> dict[str, Any]:
    """CLIPTextConfig's arguments behind a file's shapes. Raises KeyError where a key is missing."""
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
    """T5Config's arguments behind a file's shapes. Raises KeyError where a key is missing."""
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


def clip_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of what is loaded of a file: a whole CLIP has more. Raises TrainerError where it is damaged."""
    shapes = safetensors_file.read_shapes(path, "--clip_l")
    return {key: shape for key, shape in shapes.items() if key.startswith(CLIP_PREFIX)}


def t5_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The same of T5, without a decoder; the embedding counts once."""
    shapes = safetensors_file.read_shapes(path, "--t5xxl")
    return {
        key: shape
        for key, shape in shapes.items()
        if key == T5_EMBEDDING or (key.startswith(T5_PREFIX) and key != T5_COPY)
    }


def _layers(keys: Iterable[str], pattern: str) -> int:
    found = (re.match(pattern, key) for key in keys)
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)


def load_clip(path: Path, dtype: torch.dtype) -> nn.Module:
    """CLIP's text encoder, frozen. Raises TrainerError if the file is not one."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = _config(clip_config, path, "--clip_l")
    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**config))
    # Not in the file, so it would stay on meta and the model would compute NaN (measured, issue 2).
    positions_1T = torch.arange(config["max_position_embeddings"])[None]
    model.embeddings.register_buffer("position_ids", positions_1T, persistent=False)
    safetensors_file.assign(model, safetensors_file.load(path, prefix=CLIP_PREFIX), dtype, str(path))
    return model


def load_t5(path: Path, dtype: torch.dtype) -> nn.Module:
    """T5's encoder, frozen. Raises TrainerError if the file is not one."""
    from transformers import T5Config, T5EncoderModel

    config = _config(t5_config, path, "--t5xxl")
    with torch.device("meta"):
        model = T5EncoderModel(T5Config(**config))
    tensors = safetensors_file.load(path)
    tensors[T5_COPY] = tensors[T5_EMBEDDING]
    safetensors_file.assign(model, tensors, dtype, str(path))
    return model


def _config(read: Callable[[Shapes], dict[str, Any]], path: Path, flag: str) -> dict[str, Any]:
    try:
        return read(safetensors_file.read_shapes(path, flag))
    except (KeyError, ValueError) as error:
        raise TrainerError(f"{flag}: {path} is not such a text encoder: it lacks {error}") from error


def vocabulary(model: nn.Module) -> int:
    """How many token ids the model has embeddings for."""
    config: Any = model.config
    return int(config.vocab_size)


def encode_clip(model: nn.Module, ids_BT: Tensor) -> Tensor:
    """The pooled vector (B, V): the last layer's output at the first end token."""
    assert ids_BT.shape[1] <= CLIP_LENGTH
    pooled_BV: Tensor = model(input_ids=ids_BT).pooler_output
    return pooled_BV


@torch.no_grad()
def encode_t5(model: nn.Module, ids_BT: Tensor) -> Tensor:
    """All tokens (B, T, X), padding included and not masked, as Flux was trained."""
    hidden_BTX: Tensor = model(input_ids=ids_BT).last_hidden_state
    return hidden_BTX
