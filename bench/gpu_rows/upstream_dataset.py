# SPDX-License-Identifier: Apache-2.0
"""The data set of kohya-ss/sd-scripts' `--dataset_class`: the caches that our trainer reads, one picture a batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy
import torch
from library.train_util import MinimalDataset

FOLDER = "TRAINER_BENCH_PICTURES"


class CachedPictures(MinimalDataset):  # type: ignore[misc]
    def __init__(self, tokenizer: Any, max_token_length: Any, resolution: Any, debug_dataset: Any) -> None:  # noqa: ARG002
        super().__init__(resolution, 1.0, debug_dataset)
        self._texts = sorted(Path(os.environ[FOLDER]).glob("*_flux_te.npz"))
        self.num_train_images = self.img_count = len(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def is_latent_cacheable(self) -> bool:
        return True

    def is_text_encoder_output_cacheable(self) -> bool:
        return True

    def new_cache_latents(self, *_: Any) -> None:
        """All latents are cached."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A batch of one picture, in the form of sd-scripts' own data sets."""
        path = self._texts[index]
        texts = numpy.load(path)
        stem = path.name.removesuffix("_flux_te.npz")
        latents = numpy.load(next(path.parent.glob(f"{stem}_*x*_flux.npz")))
        name = next(name for name in latents if name.startswith("latents_"))
        outputs = (texts["l_pooled"], texts["t5_out"], texts["txt_ids"], texts["t5_attn_mask"])
        return {
            "latents": torch.from_numpy(latents[name])[None],
            "text_encoder_outputs_list": [torch.from_numpy(output)[None] for output in outputs],
            "loss_weights": torch.ones(1),
        }
