# SPDX-License-Identifier: Apache-2.0
"""Names of the caches beside a picture and of the arrays in them, the same as sd-scripts'. No torch."""

from __future__ import annotations

import zipfile
from pathlib import Path

from library.data.dataset import Picture
from library.flux.autoencoder_config import PIXELS_PER_LATENT

# Groups of the arrays in a cache of latents, each with its own seal.
LATENTS, FLIPPED, MASK = "latents", "latents_flipped", "alpha_mask"
LATENT_ARRAYS = {LATENTS: (LATENTS, "original_size", "crop_ltrb"), FLIPPED: (FLIPPED,), MASK: (MASK,)}
TEXT_ARRAYS = ("l_pooled", "t5_out", "txt_ids", "t5_attn_mask", "apply_t5_attn_mask")


def latents(picture: Picture) -> Path:
    size = f"{picture.size.width:04d}x{picture.size.height:04d}"
    return picture.path.with_name(f"{picture.path.stem}_{size}_flux.npz")


def text(picture: Picture) -> Path:
    return picture.path.with_name(f"{picture.path.stem}_flux_te.npz")


def size_suffix(picture: Picture) -> str:
    """`_HxW`: the size of the picture's latent, which sd-scripts appends to the names of its arrays: a file may hold
    several."""
    return f"_{picture.bucket.height // PIXELS_PER_LATENT}x{picture.bucket.width // PIXELS_PER_LATENT}"


def latent_arrays(picture: Picture, group: str) -> tuple[str, ...]:
    """The names of the arrays of one group, at the size of the picture's bucket."""
    return tuple(name + size_suffix(picture) for name in LATENT_ARRAYS[group])


def arrays_in(path: Path) -> frozenset[str]:
    """The names of the arrays that a cache lists, from its directory alone; none if it is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return frozenset()
