# SPDX-License-Identifier: Apache-2.0
"""Finds the two tokenizers on this machine: first in `--tokenizer_cache_dir`, then in `tokenizers/` beside the model
files (both under sd-scripts' folder names), then in the Hugging Face cache. Nothing is ever downloaded here.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from library import garbage
from library.errors import MissingFile, TrainerError
from library.findings import note

if TYPE_CHECKING:
    from torch import Tensor

CLIP_TOKENIZER = "openai/clip-vit-large-patch14"
T5_TOKENIZER = "google/t5-v1_1-xxl"
CLIP_LENGTH = 77
# One of these must exist: from an empty folder, transformers 5 makes an empty tokenizer without an error.
CLIP_FILES = ("vocab.json", "tokenizer.json")
SENTENCEPIECE_FILE = "spiece.model"
T5_FILES = ("tokenizer.json", SENTENCEPIECE_FILE)
# What a tokenizer is read from. A folder in the Hugging Face cache may also hold the model.
READ = frozenset(
    {
        *CLIP_FILES,
        *T5_FILES,
        *("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Tokenizers:
    """Turns captions into token ids. The model fixes CLIP's length, --t5xxl_max_token_length sets T5's."""

    clip: Any
    t5: Any
    t5_length: int

    def check(self, *, clip_vocabulary: int, t5_vocabulary: int) -> None:
        """Raises TrainerError if a tokenizer has ids for which its model has no embedding."""
        for name, tokenizer, vocabulary in (
            (CLIP_TOKENIZER, self.clip, clip_vocabulary),
            (T5_TOKENIZER, self.t5, t5_vocabulary),
        ):
            if len(tokenizer) > vocabulary:
                raise TrainerError(
                    f"the tokenizer {tokenizer.name_or_path} has {len(tokenizer)} tokens, but the text encoder "
                    f"has {vocabulary}; use the tokenizer of this model ({name})"
                )

    def lengths(self, key: str, texts: Sequence[str]) -> list[int]:
        """How many tokens of CLIP ("clip") or T5 ("t5") each text has before it is cut off."""
        return _lengths({"clip": self.clip, "t5": self.t5}[key], texts)

    def clip_ids(self, captions: Sequence[str]) -> Tensor:
        """CLIP's ids, (captions, 77) int64, padded with the end token."""
        return _ids(self.clip, captions, CLIP_LENGTH)

    def t5_ids(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """T5's ids and mask, both (captions, t5_length) int64."""
        encoded = self.t5(
            list(captions), padding="max_length", truncation=True, max_length=self.t5_length, return_tensors="pt"
        )
        return encoded["input_ids"], encoded["attention_mask"]


def _lengths(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    # verbose=False, since transformers would warn of texts that are too long without saying which.
    return [len(ids) for ids in tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]


def _ids(tokenizer: Any, captions: Sequence[str], length: int) -> Tensor:
    ids: Tensor = tokenizer(
        list(captions), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )["input_ids"]
    return ids


def load(*, cache_dir: Path | None, models_dir: Path, t5_length: int) -> Tokenizers:
    """Both tokenizers. Raises TrainerError with the exact path where a missing one should be."""
    with garbage.paused():
        from transformers import CLIPTokenizer, T5TokenizerFast

    folders = _folders(cache_dir, models_dir)
    return Tokenizers(
        clip=_load(CLIPTokenizer, CLIP_TOKENIZER, CLIP_FILES, folders),
        t5=_load(T5TokenizerFast, T5_TOKENIZER, T5_FILES, folders),
        t5_length=t5_length,
    )


def files(*, cache_dir: Path | None, models_dir: Path) -> list[Path]:
    """The files that `load` reads, in a fixed order; none if a tokenizer is missing."""
    folders = _folders(cache_dir, models_dir)
    found = []
    for name, needed in ((CLIP_TOKENIZER, CLIP_FILES), (T5_TOKENIZER, T5_FILES)):
        place = _find(name, needed, _places(name, folders))
        if place is None:
            return []
        found += sorted(file for file in place.iterdir() if file.name in READ and file.is_file())
    return found


def _folders(cache_dir: Path | None, models_dir: Path) -> list[Path]:
    return [folder for folder in (cache_dir, models_dir / "tokenizers") if folder is not None]


def _places(name: str, folders: Sequence[Path]) -> list[Path]:
    return [folder / name.replace("/", "_") for folder in folders]


def _find(name: str, files: Sequence[str], places: Sequence[Path]) -> Path | None:
    """The first folder with one of the files."""
    for place in itertools.chain(places, _hub_cache(name)):
        if any((place / file).is_file() for file in files):
            return place
    return None


def _load(tokenizer_class: Any, name: str, files: tuple[str, ...], folders: list[Path]) -> Any:
    places = _places(name, folders)
    sentence = (
        f"the tokenizer {name} is missing or damaged: put its {' or '.join(files)} and "
        f"tokenizer_config.json into {places[0]} (docs/trainer.md, section Tokenizers, says where to get them)"
    )
    note(*places)
    found = _find(name, files, places)
    if found is None:
        raise MissingFile(sentence, places[0], setting="tokenizer_cache_dir")
    note(*found.iterdir())
    try:
        return tokenizer_class.from_pretrained(str(found), local_files_only=True)
    except Exception as cause:  # the tokenizers library raises bare Exception for a damaged file
        if not (found / "tokenizer.json").is_file() and (found / SENTENCEPIECE_FILE).is_file():
            _need_packages(found / SENTENCEPIECE_FILE)
        raise TrainerError(sentence, path=found) from cause


def _need_packages(file: Path) -> None:
    """Raises TrainerError if transformers cannot read a sentencepiece model; its own error asks for tiktoken."""
    from transformers.utils import is_protobuf_available, is_sentencepiece_available

    if not (is_sentencepiece_available() and is_protobuf_available()):
        raise TrainerError(
            f"reading {file} requires the packages sentencepiece and protobuf, and one of them is not installed in "
            f"{sys.prefix}; install both, or put a tokenizer.json beside the file"
        )


def _hub_cache(name: str) -> Iterator[Path]:
    """The folder in the Hugging Face cache, if there is one."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "tokenizer_config.json")
    if isinstance(config, str):
        yield Path(config).parent
