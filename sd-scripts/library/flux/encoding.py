# SPDX-License-Identifier: Apache-2.0
"""FLUX.1's texts: what CLIP-L and T5 make of one, and how that is kept in a file.

A text's tensors are `pooled` (V), CLIP's vector; `hidden` (T, X), T5's tokens; `t5_mask` (T), which is only kept; and
`clip_ids` (77), if CLIP-L is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy
import torch
from torch import nn

from library.family.models import Arrays, Text, TrainedEncoder
from library.files import npz
from library.flux import text_encoders
from library.flux.model_files import ModelFiles
from library.flux.tokenization import Tokenizers

PARTS = ("pooled", "hidden")


class TextEncoders:
    """CLIP-L and T5 on their device. Without T5, only `ids` and the training of CLIP-L work."""

    def __init__(
        self,
        tokenizers: Tokenizers,
        clip: nn.Module,
        t5: nn.Module | None,
        *,
        width: int,
        trains_clip: bool,
        device: torch.device,
    ) -> None:
        """`width`: that of CLIP-L's vector."""
        self._width = width
        self._tokenizers, self._clip, self._t5, self._device = tokenizers, clip, t5, device
        self._trains_clip = trains_clip

    @classmethod
    def load(
        cls,
        files: ModelFiles,
        tokenizers: Tokenizers,
        *,
        trains_clip: bool,
        with_t5: bool,
        device: torch.device,
        dtype: torch.dtype,
    ) -> Self:
        """Raises TrainerError if a file has changed."""
        clip = text_encoders.load_clip(files.clip.path, files.clip.config, dtype).to(device)
        t5 = text_encoders.load_t5(files.t5.path, files.t5.config, dtype).to(device) if with_t5 else None
        width = files.clip.config["hidden_size"]
        return cls(tokenizers, clip, t5, width=width, trains_clip=trains_clip, device=device)

    @property
    def trained(self) -> TrainedEncoder | None:
        return TrainedEncoder(module=self._clip, condition=self._condition) if self._trains_clip else None

    def _condition(self, texts: Text) -> Text:
        """A batch of texts with the pooled vectors of CLIP-L as it is now."""
        return {**texts, "pooled": text_encoders.encode_clip(self._clip, texts["clip_ids"])}

    @torch.no_grad()
    def encode(self, text: str) -> Text:
        ids = self._tokenizers.clip_ids([text])
        pooled_V = text_encoders.encode_clip(self._clip, ids.to(self._device))[0].float().cpu()
        return {"pooled": pooled_V, **self._of_t5(text)}

    @torch.no_grad()
    def encode_frozen(self, text: str) -> Text:
        return {"pooled": torch.zeros(self._width), **self._of_t5(text)}

    def _of_t5(self, text: str) -> Text:
        assert self._t5 is not None
        ids, mask = self._tokenizers.t5_ids([text])
        hidden_TX = text_encoders.encode_t5(self._t5, ids.to(self._device))[0].float().cpu()
        return {"hidden": hidden_TX, "t5_mask": mask[0]}

    def ids(self, text: str) -> Text:
        return {"clip_ids": self._tokenizers.clip_ids([text])[0]} if self._trains_clip else {}


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """The arrays of sd-scripts' cache of one text."""

    names: tuple[str, ...]
    t5_length: int
    parts: tuple[str, ...] = PARTS

    def arrays(self, text: Text) -> Arrays:
        tokens = text["hidden"].shape[0]
        return {
            "l_pooled": text["pooled"].numpy(),
            "t5_out": text["hidden"].numpy(),
            "txt_ids": numpy.zeros((tokens, 3), dtype=numpy.float32),
            "t5_attn_mask": text["t5_mask"].numpy(),
            "apply_t5_attn_mask": numpy.array(False),
        }

    def read(self, path: Path) -> Text:
        arrays = npz.read(path, ("l_pooled", "t5_out"))
        return {"pooled": torch.from_numpy(arrays["l_pooled"]), "hidden": torch.from_numpy(arrays["t5_out"])}

    def fits(self, arrays: Arrays) -> bool:
        return arrays["t5_out"].shape[:1] == (self.t5_length,) and not arrays["apply_t5_attn_mask"]
