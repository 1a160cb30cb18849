# SPDX-License-Identifier: Apache-2.0
"""Checks the tokenizers, if they are needed, and warns of captions that they would cut off. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from library.check.data_check import Data
from library.data import captions
from library.data.dataset import Picture
from library.family.cache_names import CacheNames
from library.family.port import BaseModel, TextLimit, Tokenizers
from library.findings import warn
from library.options.options import Options


def check(options: Options, data: Data, models: BaseModel, *, samples: bool) -> Tokenizers | None:
    """The tokenizers; None if they are not needed. Raises TrainerError if they are needed and cannot be used.
    `samples`: whether there are prompts."""
    if not samples and not _needs_tokenizers(options, data, models.cache_names):
        return None
    found = models.load_tokenizers(options)
    for limit in models.text_limits:
        if options.trains_clip or not limit.trained:
            _warn_of_cuts(data.encoded, found, limit)
    return found


def lengths(pictures: Sequence[Picture], found: Tokenizers, key: str) -> list[int]:
    """How many tokens the text of each picture has before it is cut off, for the encoder with this
    `TextLimit.key`."""
    texts = [_longest_text(picture) for picture in pictures]
    different = sorted(set(texts))
    length_of = dict(zip(different, found.lengths(key, different), strict=True))
    return [length_of[text] for text in texts]


def _needs_tokenizers(options: Options, data: Data, names: CacheNames) -> bool:
    """Whether the caching phase needs tokenizers. Unlike that phase, this takes existing caches to be valid."""
    if options.trains_clip or data.dataset.many_texts or data.dataset.drops:
        return True
    on_disk = options.cache_text_encoder_outputs_to_disk
    return not on_disk or not all(names.text(picture).exists() for picture in data.encoded)


def _warn_of_cuts(pictures: Sequence[Picture], found: Tokenizers, limit: TextLimit) -> None:
    """Warns of captions that an encoder does not read to their end."""
    paths = [picture.caption_path or picture.path for picture in pictures]
    counted = zip(paths, lengths(pictures, found, limit.key), strict=True)
    cut = sorted({path for path, length in counted if length > limit.tokens})
    if cut:
        are = "is" if len(cut) == 1 else "are"
        flag = f" (--{limit.setting})" if limit.setting else ""
        warn(
            f"{len(cut)} of {len(set(paths))} captions {are} longer than the {limit.tokens} tokens that "
            f"{limit.name} reads{flag}, and the rest of each is ignored, for example in {cut[0]}",
            kind="dataset",
            setting=limit.setting or "dataset_config",
            path=cut[0],
        )


def _longest_text(picture: Picture) -> str:
    """The longest text of a picture: with enable_wildcard another one may be drawn each time."""
    return captions.longest(picture.text) if picture.subset.captions.enable_wildcard else picture.text
