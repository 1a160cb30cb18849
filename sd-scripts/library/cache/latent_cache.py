# SPDX-License-Identifier: Apache-2.0
"""Latents of pictures, in memory or as a file beside the picture, `{stem}_{W:04d}x{H:04d}_flux.npz` for FLUX.1.

`picture_encoding` makes the latents. Latents of several sizes share a file. Optional arrays (mirrored latents, the
mask) have separate seals, so that adding them encodes nothing else again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy
import torch
from torch import Tensor

from library.cache import cache_file, needed
from library.cache.cache_file import Arrays
from library.cache.inputs import LatentInputs
from library.cache.picture_encoding import encode
from library.data import buckets, images
from library.data.buckets import Size
from library.data.dataset import Picture
from library.family.cache_names import FLIPPED, LATENTS, MASK, CacheNames
from library.family.models import Autoencoder
from library.files import npz

FLAG = "--cache_latents_to_disk"


class LatentCache:
    """The latents and masks of all pictures, each at the size of its bucket."""

    def __init__(self, names: CacheNames, *, inputs: LatentInputs, on_disk: bool) -> None:
        self._names, self._inputs, self._on_disk = names, inputs, on_disk
        self._in_memory: dict[tuple[Path, Size, str], Tensor] = {}

    def missing(self, pictures: Iterable[Picture]) -> list[Picture]:
        """The pictures that have to be encoded."""
        return [picture for picture in pictures if self._missing_groups(picture)]

    def encode(self, picture: Picture, autoencoder: Autoencoder) -> None:
        """Encodes and keeps what is missing for one picture. Raises TrainerError if the picture cannot be read."""
        pixels_13HW, opacity_HW = images.load_pixels(
            picture.path, bucket=picture.bucket, resized=picture.resized, interpolation=picture.interpolation
        )
        for group in self._missing_groups(picture):
            if group == MASK:
                self._keep(picture, group, opacity_HW)
            else:
                mirrored = group == FLIPPED
                latents_Chw = encode(picture, pixels_13HW, autoencoder, self._names, mirrored=mirrored)
                self._keep(picture, group, latents_Chw)

    def latents(self, picture: Picture, *, flipped: bool) -> Tensor:
        """Latents (C, h, w), fp32, on the CPU. `flipped`: of the mirrored picture (the subset must have flip_aug)."""
        return self._read(picture, FLIPPED if flipped else LATENTS)

    def mask(self, picture: Picture, *, flipped: bool) -> Tensor:
        """The mask (h, w), fp32, from 0 (left out of the loss) to 1: the mean opacity of each latent's pixels.

        It is 1 everywhere if the subset has no alpha_mask.
        """
        side = self._names.pixels_per_latent
        if not picture.subset.alpha_mask:
            return torch.ones(picture.bucket.height // side, picture.bucket.width // side)
        opacity_HW = self._read(picture, MASK)
        pooled_hw = torch.nn.functional.avg_pool2d(opacity_HW[None], side)[0]
        return pooled_hw.flip(1) if flipped else pooled_hw

    def _missing_groups(self, picture: Picture) -> list[str]:
        return needed.latent_groups(picture, self._has)

    def _has(self, picture: Picture, group: str) -> bool:
        if not self._on_disk:
            return (picture.path, picture.bucket, group) in self._in_memory
        return self._is_valid(picture, group)

    def _is_valid(self, picture: Picture, group: str) -> bool:
        suffix = self._names.size_suffix(picture)

        def unsealed(arrays: Arrays) -> bool:
            """Whether arrays by sd-scripts can be used: not for rotated photos, since it ignores the rotation."""
            shape = arrays[group + suffix].shape[-2:]
            side = 1 if group == MASK else self._names.pixels_per_latent
            fits = shape == (picture.bucket.height // side, picture.bucket.width // side)
            return (
                fits and picture.rotation == 1 and cache_file.is_newer(self._names.latents(picture), picture.sources)
            )

        return cache_file.is_valid(
            self._names.latents(picture),
            self._names.latent_arrays(picture, group),
            seal_name=self._inputs.seal(picture, group),
            inputs=self._inputs.of(picture),
            unsealed=unsealed,
        )

    def _keep(self, picture: Picture, group: str, made: Tensor) -> None:
        if not self._on_disk:
            self._in_memory[picture.path, picture.bucket, group] = made
            return
        arrays = {group: made.numpy()}
        if group == LATENTS:
            box = buckets.crop_ltrb(picture.bucket, picture.upright)
            arrays |= {
                "original_size": numpy.array([picture.upright.width, picture.upright.height]),
                "crop_ltrb": numpy.array(box),
            }
        suffix = self._names.size_suffix(picture)
        cache_file.write(
            self._names.latents(picture),
            {name + suffix: array for name, array in arrays.items()},
            seal_name=self._inputs.seal(picture, group),
            inputs=self._inputs.of(picture),
            flag=FLAG,
        )

    def _read(self, picture: Picture, group: str) -> Tensor:
        if not self._on_disk:
            return self._in_memory[picture.path, picture.bucket, group]
        name = group + self._names.size_suffix(picture)
        return torch.from_numpy(npz.read(self._names.latents(picture), (name,))[name])
