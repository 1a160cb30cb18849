# SPDX-License-Identifier: Apache-2.0
"""Which arrays the caches of a job will hold before anything is encoded, as their directories say: for the plan and
for the estimate of the disk. Whether they are valid, only the caching phase finds out. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from library.cache.inputs import Content, LatentInputs, TextInputs
from library.cache.shared import SharedCaches
from library.data.dataset import Picture
from library.family.cache_names import arrays_in
from library.family.port import BaseModel
from library.files.sha256 import known_sha256
from library.options.options import Options


class Listing:
    """The arrays beside the pictures, and those of shared caches that will be put there."""

    def __init__(self, options: Options, models: BaseModel, pictures: Sequence[Picture], *, dtype: str) -> None:
        self._shared = SharedCaches.of_environment()
        self._arrays: dict[Path, frozenset[str]] = {}
        self._contents: dict[Path, Content] = {}
        if self._shared.used:
            names = models.cache_names
            latents = LatentInputs(autoencoder=models.autoencoder_path, names=names, sha256=known_sha256)
            texts = TextInputs(models.text_sources(options), names, dtype=dtype, sha256=known_sha256)
            if options.cache_latents_to_disk:
                self._contents |= latents.contents(pictures)
            if options.cache_text_encoder_outputs_to_disk:
                self._contents |= texts.contents(pictures)

    def __call__(self, file: Path) -> frozenset[str]:
        """The names of the arrays of one cache."""
        if file not in self._arrays:
            shared = self._shared.listed(self._contents[file]) if file in self._contents else frozenset()
            self._arrays[file] = arrays_in(file) | shared
        return self._arrays[file]
