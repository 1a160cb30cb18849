# SPDX-License-Identifier: Apache-2.0
"""Latents of pictures, in memory or as `{stem}_{W:04d}x{H:04d}_flux.npz` beside the picture (trainers.md 1.7).

The draw from the autoencoder's posterior depends on the picture's bytes and size alone, so that a run with cold,
warm or half-warm caches trains on the same numbers.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy
import torch
from torch import Tensor

from library import cache_file, images, randomness
from library.autoencoder import PIXELS_PER_LATENT, Autoencoder
from library.dataset import Picture
from library.errors import TrainerError
from library.hashes import file_sha256
from library.images import Size

# Raised when the same picture would give other latents.
VERSION = 1


class LatentCache:
    """The latents of one dataset at one size."""

    def __init__(self, *, autoencoder: Path, target: Size, on_disk: bool) -> None:
        self._autoencoder = autoencoder
        self._target = target
        self._on_disk = on_disk
        self._in_memory: dict[Path, Tensor] = {}
        height, width = target.height // PIXELS_PER_LATENT, target.width // PIXELS_PER_LATENT
        self._suffix = f"_{height}x{width}"

    def missing(self, pictures: tuple[Picture, ...]) -> list[Picture]:
        """The pictures that have to be encoded."""
        if not self._on_disk:
            return list(pictures)
        names = tuple(name + self._suffix for name in ("latents", "original_size", "crop_ltrb"))
        return [
            picture
            for picture in pictures
            if not cache_file.is_valid(
                self._path(picture), names, seal_name=self._seal_name, inputs=self._inputs(picture)
            )
        ]

    def encode(self, picture: Picture, autoencoder: Autoencoder) -> None:
        """Encodes one picture and keeps its latents. Raises TrainerError if it cannot be read."""
        pixels_13HW, box = images.load_pixels(picture.path, self._target)
        drawn = randomness.generator("latents", file_sha256(picture.path), self._suffix)
        latents_Chw = autoencoder.encode(pixels_13HW, drawn)[0].cpu()
        if not torch.isfinite(latents_Chw).all():
            raise TrainerError(f"the autoencoder gives numbers that are not finite for {picture.path}")
        if not self._on_disk:
            self._in_memory[picture.path] = latents_Chw
            return
        arrays = {
            "latents" + self._suffix: latents_Chw.numpy(),
            "original_size" + self._suffix: numpy.array([picture.size.width, picture.size.height]),
            "crop_ltrb" + self._suffix: numpy.array(box),
        }
        cache_file.write(self._path(picture), arrays, seal_name=self._seal_name, inputs=self._inputs(picture))

    def latents(self, picture: Picture) -> Tensor:
        """(C, h, w), fp32, on the CPU."""
        if not self._on_disk:
            return self._in_memory[picture.path]
        with numpy.load(self._path(picture), allow_pickle=False) as archive:
            return torch.from_numpy(archive["latents" + self._suffix])

    @property
    def _seal_name(self) -> str:
        return "fluxgym_seal" + self._suffix

    def _path(self, picture: Picture) -> Path:
        size = f"{picture.size.width:04d}x{picture.size.height:04d}"
        return picture.path.with_name(f"{picture.path.stem}_{size}_flux.npz")

    def _inputs(self, picture: Picture) -> dict[str, object]:
        return {
            "version": VERSION,
            "picture": file_sha256(picture.path),
            "autoencoder": self._autoencoder_hash,
            "size": self._suffix,
        }

    @functools.cached_property
    def _autoencoder_hash(self) -> str:
        return file_sha256(self._autoencoder)
