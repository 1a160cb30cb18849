# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N815 (fields carry their tensors' shapes too)
"""Text embeddings of captions, in memory or as `{stem}_flux_te.npz` beside the picture (trainers.md 1.7).

A cache holds the text where nothing is drawn (`Picture.text`): a caption that is shuffled cannot be cached.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from library import cache_file, npz
from library.cache_file import Arrays
from library.dataset import Picture
from library.hashes import file_sha256

VERSION = 1
SEAL_NAME = "fluxgym_seal"
NAMES = ("l_pooled", "t5_out", "txt_ids", "t5_attn_mask", "apply_t5_attn_mask")


@dataclass(frozen=True, kw_only=True)
class TextEmbedding:
    """What the transformer sees of one caption: CLIP's pooled vector and T5's tokens, fp32, on the CPU."""

    pooled_V: Tensor
    hidden_TX: Tensor
    t5_mask_T: Tensor


class TextCache:
    """The embeddings of one dataset's captions. `dtype` is the encoders' type, since it changes the numbers."""

    def __init__(self, *, clip: Path, t5: Path, t5_length: int, dtype: torch.dtype, on_disk: bool) -> None:
        self._models = (clip, t5)
        self._settings = {"version": VERSION, "t5_length": t5_length, "dtype": str(dtype)}
        self._on_disk = on_disk
        self._in_memory: dict[str, TextEmbedding] = {}
        self._text_of_file: dict[Path, str] = {}

    def missing(self, pictures: Iterable[Picture]) -> list[Picture]:
        """The pictures whose texts have to be encoded, each text once where it is kept in memory."""
        found: dict[object, Picture] = {}
        for picture in pictures:
            if self._has_file(picture):
                if picture.path not in found and not self._is_valid(picture):
                    found[picture.path] = picture
            elif picture.text not in self._in_memory:
                found[picture.text] = picture
        return list(found.values())

    def _has_file(self, picture: Picture) -> bool:
        """A picture of two datasets may have two texts (caption_prefix): its file holds the first."""
        return self._on_disk and self._text_of_file.setdefault(picture.path, picture.text) == picture.text

    def _is_valid(self, picture: Picture) -> bool:
        def unsealed(arrays: Arrays) -> bool:
            """sd-scripts encodes a caption as its file has it."""
            fits = arrays["t5_out"].shape[:1] == (self._settings["t5_length"],) and not arrays["apply_t5_attn_mask"]
            plain = picture.caption_path is not None and picture.text == picture.caption
            return fits and plain and cache_file.is_newer(path_of(picture), picture.sources)

        return cache_file.is_valid(
            path_of(picture), NAMES, seal_name=SEAL_NAME, inputs=self._inputs(picture), unsealed=unsealed
        )

    def keep(self, picture: Picture, embedding: TextEmbedding) -> None:
        """Keeps a caption's embedding."""
        if not self._has_file(picture):
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
        cache_file.write(path_of(picture), arrays, seal_name=SEAL_NAME, inputs=self._inputs(picture))

    def embedding(self, picture: Picture) -> TextEmbedding:
        if not self._has_file(picture):
            return self._in_memory[picture.text]
        arrays = npz.read(path_of(picture), ("l_pooled", "t5_out", "t5_attn_mask"))
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


def path_of(picture: Picture) -> Path:
    return picture.path.with_name(f"{picture.path.stem}_flux_te.npz")
