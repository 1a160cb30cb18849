# SPDX-License-Identifier: Apache-2.0
"""What caches are made from. A cache's seal covers it, and a shared cache is found by it. No torch."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from library.cache import needed
from library.cache.needed import TextFiles
from library.data.dataset import Picture
from library.family.cache_names import FLIPPED, LATENTS, MASK, CacheNames
from library.family.port import TextSources
from library.files.sha256 import file_sha256

# To be increased if the same picture, or the same text, gives different numbers than before.
LATENTS_VERSION, TEXT_VERSION = 2, 1
LATENT_SEALS = {LATENTS: "fluxgym_seal", FLIPPED: "fluxgym_seal_flipped", MASK: "fluxgym_seal_mask"}
TEXT_SEAL = "fluxgym_seal"

Inputs = Mapping[str, object]
Hash = Callable[[Path], str | None]
"""The SHA-256 of a file; None if it is not known yet, so that nothing is found by it."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a training wants a cache file to hold. `key`: SHA-256, in hex, over the seals with what they cover, and
    what else the arrays depend on; `seals`: the names of the seals' arrays."""

    key: str
    seals: frozenset[str]


class LatentInputs:
    """What the latents and masks of pictures are made from."""

    def __init__(self, *, autoencoder: Path, names: CacheNames, sha256: Hash = file_sha256) -> None:
        self._names, self._autoencoder, self._sha256 = names, autoencoder, functools.cache(sha256)

    def of(self, picture: Picture) -> Inputs:
        return {
            "version": LATENTS_VERSION,
            "picture": self._sha256(picture.path),
            "autoencoder": self._sha256(self._autoencoder),
            "size": self._names.size_suffix(picture),
            "resized": (picture.resized.width, picture.resized.height),
            "interpolation": picture.interpolation,
        }

    def seal(self, picture: Picture, group: str) -> str:
        """The name of the array with the seal of one group of arrays."""
        return LATENT_SEALS[group] + self._names.size_suffix(picture)

    def contents(self, pictures: Iterable[Picture]) -> dict[Path, Content]:
        """The cache file of each picture with what it is to hold: all groups of arrays, at all sizes."""
        wanted: dict[Path, list[tuple[str, Inputs]]] = {}
        for picture in pictures:
            made_from = self.of(picture)
            seals = [(self.seal(picture, group), made_from) for group in needed.wanted(picture)]
            wanted.setdefault(self._names.latents(picture), []).extend(seals)
        return {file: _content(sealed) for file, sealed in wanted.items()}


class TextInputs:
    """What encoded texts are made from. `dtype`: the encoders' type, such as torch.bfloat16."""

    def __init__(self, sources: TextSources, names: CacheNames, *, dtype: str, sha256: Hash = file_sha256) -> None:
        self._names, self._tokenizers = names, sources.tokenizers
        self._settings = {"version": TEXT_VERSION, **sources.settings, "dtype": dtype}
        self._models, self._sha256 = sources.models, functools.cache(sha256)

    def of(self, picture: Picture) -> Inputs:
        models = {name: self._sha256(path) for name, path in self._models.items()}
        return {**self._settings, "caption": picture.text, **models}

    def contents(self, pictures: Iterable[Picture]) -> dict[Path, Content]:
        """The cache file of each picture's text with what it is to hold; none without tokenizers.

        The seals do not cover these, so that a training which has all of its caches needs none. Jobs may have
        different ones.
        """
        if not self._tokenizers:
            return {}
        read = [f"tokenizer {file.name}={self._sha256(file)}" for file in self._tokenizers]
        files = TextFiles(on_disk=True)
        held = [picture for picture in pictures if files.holds(picture)]
        return {self._names.text(picture): _content([(TEXT_SEAL, self.of(picture))], read) for picture in held}


def _content(sealed: Collection[tuple[str, Inputs]], more: Iterable[str] = ()) -> Content:
    """`more`: lines that the key covers too."""
    lines = {f"{seal} {name}={value}" for seal, inputs in sealed for name, value in inputs.items()}.union(more)
    key = hashlib.sha256("\0".join(sorted(lines)).encode()).hexdigest()
    return Content(key=key, seals=frozenset(seal for seal, _ in sealed))
