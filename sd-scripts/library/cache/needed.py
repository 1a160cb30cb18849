# SPDX-License-Identifier: Apache-2.0
"""Which latents and texts have to be encoded, for the caching phase and for --plan. No torch.

The two differ in what they accept: the caching phase compares a cache's seal with everything that it was made from,
and the plan takes a cache that lists the arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from library.data.dataset import Picture
from library.family.cache_names import FLIPPED, LATENTS, MASK, CacheNames


def wanted(picture: Picture) -> list[str]:
    """The groups of arrays that are trained for a picture."""
    return [LATENTS, *[FLIPPED] * picture.subset.flip_aug, *[MASK] * picture.subset.alpha_mask]


def latent_groups(picture: Picture, has: Callable[[Picture, str], bool]) -> list[str]:
    """The groups of arrays that must be encoded for a picture. `has`: whether one of them is there."""
    return [group for group in wanted(picture) if not has(picture, group)]


class TextFiles:
    """Which picture's text is in its file and not in memory. A picture in two datasets may have two texts
    (caption_prefix): its file holds the first."""

    def __init__(self, *, on_disk: bool) -> None:
        self._on_disk = on_disk
        self._text_of_file: dict[Path, str] = {}

    def holds(self, picture: Picture) -> bool:
        return self._on_disk and self._text_of_file.setdefault(picture.path, picture.text) == picture.text


def texts(
    pictures: Iterable[Picture],
    files: TextFiles,
    *,
    in_file: Callable[[Picture], bool],
    in_memory: Callable[[str], bool],
) -> list[Picture]:
    """The pictures whose texts must be encoded. Texts that are kept in memory occur once each."""
    found: dict[object, Picture] = {}
    for picture in pictures:
        if files.holds(picture):
            if picture.path not in found and not in_file(picture):
                found[picture.path] = picture
        elif not in_memory(picture.text):
            found[picture.text] = picture
    return list(found.values())


def planned(
    pictures: Iterable[Picture],
    names: CacheNames,
    listed: Callable[[Path], frozenset[str]],
    *,
    latents_on_disk: bool,
    texts_on_disk: bool,
) -> tuple[int, int]:
    """How many (pictures, texts) have to be encoded, if each cache that lists the arrays is valid. `listed`: the
    arrays of a cache (`listing`)."""
    every = list(pictures)

    def has_latents(picture: Picture, group: str) -> bool:
        found = listed(names.latents(picture)) if latents_on_disk else frozenset()
        return found.issuperset(names.latent_arrays(picture, group))

    def has_text(picture: Picture) -> bool:
        return listed(names.text(picture)).issuperset(names.text_arrays)

    of_latents = [picture for picture in every if latent_groups(picture, has_latents)]
    of_texts = texts(every, TextFiles(on_disk=texts_on_disk), in_file=has_text, in_memory=lambda _: False)
    return len(of_latents), len(of_texts)
