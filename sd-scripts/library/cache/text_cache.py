# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N815 (fields carry their tensors' shapes too)
"""Text embeddings of captions, in memory or, as in sd-scripts, in `{stem}_flux_te.npz` beside the picture.

A cache holds the embedding of `Picture.text`, the text without random choices: a shuffled caption cannot be cached.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from library.cache import cache_file, cache_names, needed
from library.cache.cache_file import Arrays
from library.data.dataset import Picture
from library.files import npz
from library.files.hashes import file_sha256

FLAG = "--cache_text_encoder_outputs_to_disk"
VERSION = 1
SEAL_NAME = "fluxgym_seal"


@dataclass(frozen=True, kw_only=True)
class TextEmbedding:
    """The encoders' output for one caption, fp32, on the CPU: CLIP's pooled vector, T5's tokens and their mask."""

    pooled_V: Tensor
    hidden_TX: Tensor
    t5_mask_T: Tensor


class TextCache:
    """The embeddings of one dataset's captions. `dtype`: the encoders' type, on which the numbers depend."""

    def __init__(self, *, clip: Path, t5: Path, t5_length: int, dtype: torch.dtype, on_disk: bool) -> None:
        self._models = (clip, t5)
        self._settings = {"version": VERSION, "t5_length": t5_length, "dtype": str(dtype)}
        self._files = needed.TextFiles(on_disk=on_disk)
        self._in_memory: dict[str, TextEmbedding] = {}

    def missing(self, pictures: Iterable[Picture]) -> list[Picture]:
        """The pictures whose texts must be encoded. Texts that are kept in memory occur once each."""
        return needed.texts(
            pictures, self._files, in_file=self._is_valid, in_memory=lambda text: text in self._in_memory
        )

    def _is_valid(self, picture: Picture) -> bool:
        def unsealed(arrays: Arrays) -> bool:
            """Whether a cache without a seal, one by sd-scripts, is valid. sd-scripts encodes the caption exactly as
            it is in its file."""
            fits = arrays["t5_out"].shape[:1] == (self._settings["t5_length"],) and not arrays["apply_t5_attn_mask"]
            plain = picture.caption_path is not None and picture.text == picture.caption
            return fits and plain and cache_file.is_newer(cache_names.text(picture), picture.sources)

        return cache_file.is_valid(
            cache_names.text(picture),
            cache_names.TEXT_ARRAYS,
            seal_name=SEAL_NAME,
            inputs=self._inputs(picture),
            unsealed=unsealed,
        )

    def keep(self, picture: Picture, embedding: TextEmbedding) -> None:
        """Stores a caption's embedding in its file or in memory."""
        if not self._files.holds(picture):
            self._in_memory[picture.text] = embedding
            return
        tokens = embedding.hidden_TX.shape[0]
        arrays = {
            "l_pooled": embedding.pooled_V.numpy(),
            "t5_out": embedding.hidden_TX.numpy(),
            "txt_ids": numpy.zeros((tokens, 3), dtype=numpy.float32),
            "t5_attn_mask": embedding.t5_mask_T.numpy(),
            "apply_t5_attn_mask": numpy.array(False),
        }
        path = cache_names.text(picture)
        cache_file.write(path, arrays, seal_name=SEAL_NAME, inputs=self._inputs(picture), flag=FLAG)

    def embedding(self, picture: Picture) -> TextEmbedding:
        if not self._files.holds(picture):
            return self._in_memory[picture.text]
        arrays = npz.read(cache_names.text(picture), ("l_pooled", "t5_out", "t5_attn_mask"))
        return TextEmbedding(
            pooled_V=torch.from_numpy(arrays["l_pooled"]),
            hidden_TX=torch.from_numpy(arrays["t5_out"]),
            t5_mask_T=torch.from_numpy(arrays["t5_attn_mask"]),
        )

    def _inputs(self, picture: Picture) -> dict[str, object]:
        return {**self._settings, "caption": picture.text, **self._model_hashes}

    @functools.cached_property
    def _model_hashes(self) -> dict[str, str]:
        clip, t5 = self._models
        return {"clip": file_sha256(clip), "t5": file_sha256(t5)}
