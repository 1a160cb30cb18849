# SPDX-License-Identifier: Apache-2.0
"""CLIP-L and T5, built from the configs that their usual single files' shapes give (`model_files`).

transformers 5 dropped CLIP's `text_model.` prefix, which the files (and kohya's LoRA names) still have. Our modules
have transformers' names, so it is removed here.

Shape suffixes: B captions, T tokens, X T5's width, V CLIP's width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from library.files import safetensors_file
from library.flux.clip import Clip
from library.flux.encoder_config import CLIP_PREFIX
from library.flux.t5 import T5
from library.flux.tokenization import CLIP_LENGTH


def clip_on_meta(config: Mapping[str, Any]) -> Clip:
    """CLIP's text encoder without its weights."""
    with torch.device("meta"):
        return Clip(config)


def load_clip(path: Path, config: Mapping[str, Any], dtype: torch.dtype) -> Clip:
    """CLIP's text encoder, frozen. Raises TrainerError if the file is not of this config."""
    clip = clip_on_meta(config)
    safetensors_file.assign(clip, safetensors_file.load(path, prefix=CLIP_PREFIX, flag="--clip_l"), dtype, str(path))
    return clip


def load_t5(path: Path, config: Mapping[str, Any], dtype: torch.dtype) -> T5:
    """T5's encoder, frozen. Raises TrainerError if the file is not of this config."""
    with torch.device("meta"):
        t5 = T5(config)
    safetensors_file.assign(t5, safetensors_file.load(path, flag="--t5xxl"), dtype, str(path))
    return t5


def encode_clip(clip: nn.Module, ids_BT: Tensor) -> Tensor:
    """The pooled vector (B, V): the last layer's output at the first end token."""
    assert ids_BT.shape[1] <= CLIP_LENGTH
    pooled_BV: Tensor = clip(ids_BT)
    return pooled_BV


@torch.no_grad()
def encode_t5(t5: nn.Module, ids_BT: Tensor) -> Tensor:
    """The last layer's output for all tokens (B, T, X), including padding, without a mask, as Flux was trained."""
    hidden_BTX: Tensor = t5(ids_BT)
    return hidden_BTX
