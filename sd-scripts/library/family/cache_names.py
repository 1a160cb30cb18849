# SPDX-License-Identifier: Apache-2.0
"""Names of the caches beside a picture and of the arrays in them, the same as sd-scripts'. No torch."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from library.data.dataset import Picture

# Groups of the arrays in a cache of latents, each with its own seal.
LATENTS, FLIPPED, MASK = "latents", "latents_flipped", "alpha_mask"
LATENT_ARRAYS = {LATENTS: (LATENTS, "original_size", "crop_ltrb"), FLIPPED: (FLIPPED,), MASK: (MASK,)}


@dataclass(frozen=True, kw_only=True)
class CacheNames:
    """The names that sd-scripts uses for one family. `latents_end`, `text_end`: what the files' names end with;
    `pixels_per_latent`: the side of a latent's square; `text_arrays`: the arrays in the file of a text."""

    latents_end: str
    text_end: str
    pixels_per_latent: int
    text_arrays: tuple[str, ...]

    def latents(self, picture: Picture) -> Path:
        size = f"{picture.size.width:04d}x{picture.size.height:04d}"
        return picture.path.with_name(f"{picture.path.stem}_{size}{self.latents_end}")

    def text(self, picture: Picture) -> Path:
        return picture.path.with_name(f"{picture.path.stem}{self.text_end}")

    def size_suffix(self, picture: Picture) -> str:
        """`_HxW`: the size of the picture's latent, which sd-scripts appends to the names of its arrays: a file may
        hold several."""
        side = self.pixels_per_latent
        return f"_{picture.bucket.height // side}x{picture.bucket.width // side}"

    def latent_arrays(self, picture: Picture, group: str) -> tuple[str, ...]:
        """The names of the arrays of one group, at the size of the picture's bucket."""
        return tuple(name + self.size_suffix(picture) for name in LATENT_ARRAYS[group])


def arrays_in(path: Path) -> frozenset[str]:
    """The names of the arrays that a cache lists, from its directory alone; none if it is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return frozenset()
