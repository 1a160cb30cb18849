# SPDX-License-Identifier: Apache-2.0
"""The two tokenizers, looked for on this machine only: `--tokenizer_cache_dir` (under sd-scripts' folder names),
then `tokenizers/` beside the model files, then the Hugging Face cache. Nothing is ever downloaded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from library.errors import TrainerError

CLIP_TOKENIZER = "openai/clip-vit-large-patch14"
T5_TOKENIZER = "google/t5-v1_1-xxl"
CLIP_LENGTH = 77


@dataclass(frozen=True, kw_only=True)
class Tokenizers:
    """Captions to token ids. CLIP's length is fixed by the model, T5's by --t5xxl_max_token_length."""

    clip: Any
    t5: Any
    t5_length: int

    def clip_ids(self, captions: Sequence[str]) -> Tensor:
        """(captions, 77) int64, padded with the end token."""
        return _ids(self.clip, captions, CLIP_LENGTH)

    def t5_ids(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask, both (captions, t5_length) int64."""
        encoded = self.t5(
            list(captions), padding="max_length", truncation=True, max_length=self.t5_length, return_tensors="pt"
        )
        return encoded["input_ids"], encoded["attention_mask"]


def _ids(tokenizer: Any, captions: Sequence[str], length: int) -> Tensor:
    ids: Tensor = tokenizer(
        list(captions), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )["input_ids"]
    return ids


def load(*, cache_dir: Path | None, models_dir: Path, t5_length: int) -> Tokenizers:
    """Both tokenizers. Raises TrainerError with the exact path where one should lie."""
    from transformers import CLIPTokenizer, T5TokenizerFast  # type: ignore[attr-defined]

    return Tokenizers(
        clip=_load(CLIPTokenizer, CLIP_TOKENIZER, cache_dir, models_dir),
        t5=_load(T5TokenizerFast, T5_TOKENIZER, cache_dir, models_dir),
        t5_length=t5_length,
    )


def _load(tokenizer_class: Any, name: str, cache_dir: Path | None, models_dir: Path) -> Any:
    folder_name = name.replace("/", "_")
    folders = [folder / folder_name for folder in (cache_dir, models_dir / "tokenizers") if folder is not None]
    source = next((str(folder) for folder in folders if folder.is_dir()), name)
    try:
        return tokenizer_class.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainerError(
            f"the tokenizer {name} is not on this machine or is damaged: put its files into {folders[0]}"
        ) from error
