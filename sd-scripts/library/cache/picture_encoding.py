# SPDX-License-Identifier: Apache-2.0
"""Encodes a picture's pixels as a latent.

The draw from the autoencoder's posterior depends only on the picture's bytes, the size of its latent, and whether it
is mirrored, so a run with empty, full or partly filled caches trains on the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from library import randomness
from library.data.dataset import Picture
from library.errors import TrainerError
from library.family.cache_names import CacheNames
from library.family.models import Autoencoder
from library.files.sha256 import file_sha256


def encode(
    picture: Picture, pixels_13HW: Tensor, autoencoder: Autoencoder, names: CacheNames, *, mirrored: bool
) -> Tensor:
    """The latent (C, h, w), fp32, on the CPU, of the picture or of its mirror image.

    Raises TrainerError if a value is not finite.
    """
    side = ("latents_flipped",) if mirrored else ()
    drawn = randomness.generator("latents", file_sha256(picture.path), names.size_suffix(picture), *side)
    latent_Chw = autoencoder.encode(pixels_13HW.flip(3) if mirrored else pixels_13HW, drawn)[0].cpu()
    if not torch.isfinite(latent_Chw).all():
        raise TrainerError(f"the autoencoder produces values that are not finite for {picture.path}")
    return latent_Chw
