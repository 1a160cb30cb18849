# SPDX-License-Identifier: Apache-2.0
"""Checks the tokenizers, if they are needed, and warns of captions that they would cut off. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from library.cache import cache_names
from library.check.data_check import Data
from library.data.dataset import Picture
from library.findings import warn
from library.flux import tokenization
from library.flux.model_files import ModelFiles
from library.flux.tokenization import CLIP_LENGTH, Tokenizers
from library.options.options import Options


def check(options: Options, data: Data, models: ModelFiles, *, samples: bool, length: int) -> Tokenizers | None:
    """The tokenizers; None if they are not needed. Raises TrainerError if they are needed and cannot be used.
    `length`: that of T5's texts, in tokens; `samples`: whether there are prompts."""
    if not samples and not _needs_tokenizers(options, data):
        return None
    found = load(options, length=length)
    found.check(clip_vocabulary=models.clip.config["vocab_size"], t5_vocabulary=models.t5.config["vocab_size"])
    _warn_of_cuts(options, data.encoded, found)
    return found


def load(options: Options, *, length: int) -> Tokenizers:
    """The tokenizers of this command line. Raises TrainerError if one cannot be used."""
    return tokenization.load(
        cache_dir=options.tokenizer_cache_dir, models_dir=options.clip_l.parent, t5_length=length
    )


def lengths(pictures: Sequence[Picture], found: Tokenizers) -> list[tuple[int, int]]:
    """How many tokens (CLIP-L's, T5's) the text of each picture has before it is cut off."""
    texts = [_longest_text(picture) for picture in pictures]
    different = sorted(set(texts))
    counts = zip(found.clip_lengths(different), found.t5_lengths(different), strict=True)
    length_of = dict(zip(different, counts, strict=True))
    return [length_of[text] for text in texts]


def _needs_tokenizers(options: Options, data: Data) -> bool:
    """Whether the caching phase needs tokenizers. Unlike that phase, this takes existing caches to be valid."""
    if options.trains_clip or data.dataset.many_texts or data.dataset.drops:
        return True
    on_disk = options.cache_text_encoder_outputs_to_disk
    return not on_disk or not all(cache_names.text(picture).exists() for picture in data.encoded)


def _warn_of_cuts(options: Options, pictures: Sequence[Picture], found: Tokenizers) -> None:
    """Warns of captions that T5 cuts off, and of those that CLIP cuts off if CLIP-L is trained."""
    counts: list[tuple[str, int, str, Callable[[Sequence[str]], list[int]]]] = [
        ("T5", found.t5_length, " (--t5xxl_max_token_length)", found.t5_lengths)
    ]
    if options.trains_clip:
        counts.append(("CLIP-L", CLIP_LENGTH, "", found.clip_lengths))
    texts = [(_longest_text(picture), picture.caption_path or picture.path) for picture in pictures]
    different = sorted({text for text, _ in texts})
    for name, most, flag, lengths in counts:
        length_of = dict(zip(different, lengths(different), strict=True))
        cut = sorted({path for text, path in texts if length_of[text] > most})
        if cut:
            are = "is" if len(cut) == 1 else "are"
            warn(
                f"{len(cut)} of {len({path for _, path in texts})} captions {are} longer than the {most} tokens that "
                f"{name} reads{flag}, and the rest of each is ignored, for example in {cut[0]}",
                kind="dataset",
                setting="t5xxl_max_token_length" if flag else "dataset_config",
                path=cut[0],
            )


def _longest_text(picture: Picture) -> str:
    """The longest text of a picture: with enable_wildcard one of its lines is drawn each time."""
    return max(picture.text.split("\n"), key=len) if picture.subset.captions.enable_wildcard else picture.text
