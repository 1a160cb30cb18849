# SPDX-License-Identifier: Apache-2.0
"""The two tokenizers of the tiny encoders: CLIP's over single bytes, T5's over printable characters.

They are real tokenizer files under sd-scripts' folder names, which transformers loads like any others.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

CLIP_FOLDER, T5_FOLDER = "openai_clip-vit-large-patch14", "google_t5-v1_1-xxl"
CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
CLIP_VOCABULARY = 2 * 256 + 2
T5_VOCABULARY = 128
T5_SPECIAL = ("<pad>", "</s>", "<unk>")
SPACE = "▁"


def write(folder: Path) -> None:
    """Writes both tokenizers into `folder`."""
    _write_clip(folder / CLIP_FOLDER)
    _write_t5(folder / T5_FOLDER)


def _write_clip(folder: Path) -> None:
    """Byte-level BPE without merges. The end token must have the largest id, since that is where CLIP pools."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*symbols, *(f"{symbol}</w>" for symbol in symbols), CLIP_START, CLIP_END]
    assert len(vocabulary) == CLIP_VOCABULARY
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "vocab.json", {symbol: index for index, symbol in enumerate(vocabulary)})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": CLIP_START,
        "eos_token": CLIP_END,
        "pad_token": CLIP_END,
        "unk_token": CLIP_END,
    }
    _write_json(folder / "tokenizer_config.json", config)


def _write_t5(folder: Path) -> None:
    """A unigram model in which each printable character is a piece."""
    pieces = [*((token, 0.0) for token in T5_SPECIAL), (SPACE, -2.0)]
    pieces += [(character, -3.0) for character in string.printable.strip()]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=T5_SPECIAL.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", T5_SPECIAL.index("</s>"))]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "T5TokenizerFast",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "extra_ids": 0,
        "model_max_length": 512,
    }
    _write_json(folder / "tokenizer_config.json", config)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
