# SPDX-License-Identifier: Apache-2.0
"""CLIP-L and T5 from transformers, built from the configs that their usual single files' shapes give (`model_files`).

transformers 5 dropped CLIP's `text_model.` prefix, which the files (and kohya's LoRA names) still have, so it is
removed here. transformers is imported inside the functions (1 s, 145 MB), since a run with warm caches does not need
it.

Shape suffixes: B captions, T tokens, X T5's width, V CLIP's width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from library import garbage
from library.files import safetensors_file
from library.flux.encoder_config import CLIP_PREFIX, T5_COPY, T5_EMBEDDING
from library.flux.tokenization import CLIP_LENGTH


def clip_on_meta(config: Mapping[str, Any]) -> nn.Module:
    """CLIP's text encoder without its weights."""
    with garbage.paused():
        from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        return CLIPTextModel(CLIPTextConfig(**config))


def load_clip(path: Path, config: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
    """CLIP's text encoder, frozen. Raises TrainerError if the file is not of this config."""
    model: Any = clip_on_meta(config)
    # This buffer is not in the file, so it would stay on meta, and the model would give NaN (measured, issue 2).
    positions_1T = torch.arange(model.config.max_position_embeddings)[None]
    model.embeddings.register_buffer("position_ids", positions_1T, persistent=False)
    safetensors_file.assign(model, safetensors_file.load(path, prefix=CLIP_PREFIX, flag="--clip_l"), dtype, str(path))
    clip: nn.Module = model
    return clip


def load_t5(path: Path, config: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
    """T5's encoder, frozen. Raises TrainerError if the file is not of this config."""
    with garbage.paused():
        from transformers import T5Config, T5EncoderModel

    with torch.device("meta"):
        model = T5EncoderModel(T5Config(**config))
    tensors = safetensors_file.load(path, flag="--t5xxl")
    tensors[T5_COPY] = tensors[T5_EMBEDDING]
    safetensors_file.assign(model, tensors, dtype, str(path))
    return model


def encode_clip(model: nn.Module, ids_BT: Tensor) -> Tensor:
    """The pooled vector (B, V): the last layer's output at the first end token."""
    assert ids_BT.shape[1] <= CLIP_LENGTH
    pooled_BV: Tensor = model(input_ids=ids_BT).pooler_output
    return pooled_BV


@torch.no_grad()
def encode_t5(model: nn.Module, ids_BT: Tensor) -> Tensor:
    """The last layer's output for all tokens (B, T, X), including padding, without a mask, as Flux was trained."""
    hidden_BTX: Tensor = model(input_ids=ids_BT).last_hidden_state
    return hidden_BTX
