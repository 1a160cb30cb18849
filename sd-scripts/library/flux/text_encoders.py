# SPDX-License-Identifier: Apache-2.0
"""CLIP-L and T5 from transformers, built from the shapes in their usual single files, without any config file.

transformers 5 dropped CLIP's `text_model.` prefix, which the files (and kohya's LoRA names) still have, so it is
removed here. transformers is imported inside the functions (1 s, 145 MB), since a run with warm caches does not need
it.

Shape suffixes: B captions, T tokens, X T5's width, V CLIP's width.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from library.errors import TrainerError
from library.files import safetensors_file, safetensors_header
from library.files.safetensors_header import Shapes
from library.flux.encoder_config import CLIP_PREFIX, T5_COPY, T5_EMBEDDING, clip_config, t5_config
from library.flux.tokenization import CLIP_LENGTH


def clip_on_meta(path: Path) -> nn.Module:
    """CLIP's text encoder without its weights. Raises TrainerError if the file is not CLIP's."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = _config(clip_config, path, "--clip_l")
    with torch.device("meta"):
        return CLIPTextModel(CLIPTextConfig(**config))


def load_clip(path: Path, dtype: torch.dtype) -> nn.Module:
    """CLIP's text encoder, frozen. Raises TrainerError if the file is not CLIP's."""
    model: Any = clip_on_meta(path)
    # This buffer is not in the file, so it would stay on meta, and the model would give NaN (measured, issue 2).
    positions_1T = torch.arange(model.config.max_position_embeddings)[None]
    model.embeddings.register_buffer("position_ids", positions_1T, persistent=False)
    safetensors_file.assign(model, safetensors_file.load(path, prefix=CLIP_PREFIX), dtype, str(path))
    clip: nn.Module = model
    return clip


def load_t5(path: Path, dtype: torch.dtype) -> nn.Module:
    """T5's encoder, frozen. Raises TrainerError if the file is not T5's."""
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
        return read(safetensors_header.read_shapes(path, flag))
    except (KeyError, ValueError) as error:
        raise TrainerError(f"{flag}: {path} is not the expected text encoder: it lacks {error}") from error


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
    """The last layer's output for all tokens (B, T, X), including padding, without a mask, as Flux was trained."""
    hidden_BTX: Tensor = model(input_ids=ids_BT).last_hidden_state
    return hidden_BTX
