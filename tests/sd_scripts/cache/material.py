# SPDX-License-Identifier: Apache-2.0
"""Pictures with the caches of a tiny Flux."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from library.cache.inputs import LatentInputs, TextInputs
from library.cache.latent_cache import LatentCache
from library.cache.text_cache import TextCache
from library.data import dataset
from library.data.buckets import BucketRules, Size
from library.data.dataset import Dataset
from library.data.dataset_config import DatasetConfig, SubsetConfig
from library.family.port import TextSources
from library.flux import tokenization
from library.flux.base_model import CACHE_NAMES
from library.flux.encoding import TextFile
from tests.sd_scripts.models import load_autoencoder
from tests.sd_scripts.running import Models

TEXT = {"pooled": torch.ones(64), "hidden": torch.ones(4, 64), "t5_mask": torch.ones(4, dtype=torch.int64)}


def find(folder: Path, *, width: int = 64, **keys: Any) -> Dataset:
    subset = SubsetConfig(image_dir=folder, caption_extension=".txt", **keys)
    rules = BucketRules(resolution=Size(width, 64))
    return dataset.find((DatasetConfig(buckets=rules, batch_size=1, subsets=(subset,)),))


def text_inputs(models: Models, *, t5_length: int = 4, tokenizers: Path | None = None) -> TextInputs:
    encoders = {"clip": models.folder / "clip_l.safetensors", "t5": models.folder / "t5xxl_fp16.safetensors"}
    read = tokenization.files(cache_dir=tokenizers, models_dir=models.folder)
    sources = TextSources(models=encoders, tokenizers=read, settings={"t5_length": t5_length})
    return TextInputs(sources, CACHE_NAMES, dtype=str(torch.float32))


def text_cache(models: Models, *, t5_length: int = 4) -> TextCache:
    file = TextFile(names=CACHE_NAMES.text_arrays, t5_length=t5_length)
    return TextCache(file, CACHE_NAMES, inputs=text_inputs(models, t5_length=t5_length), on_disk=True)


def latent_inputs(models: Models) -> LatentInputs:
    return LatentInputs(autoencoder=models.folder / "ae.safetensors", names=CACHE_NAMES)


def latent_cache(models: Models) -> LatentCache:
    return LatentCache(CACHE_NAMES, inputs=latent_inputs(models), on_disk=True)


def fill(folder: Path, models: Models) -> None:
    """Makes all caches."""
    autoencoder = load_autoencoder(models)
    for picture in find(folder).pictures:
        latent_cache(models).encode(picture, autoencoder)
        text_cache(models).keep(picture, TEXT)


def missing(folder: Path, models: Models) -> tuple[list[str], list[str]]:
    """Names of the pictures whose latents have to be encoded again, and of those whose captions have to be."""
    pictures = find(folder).pictures
    latents = latent_cache(models).missing(pictures)
    texts = text_cache(models).missing(pictures)
    return [picture.path.name for picture in latents], [picture.path.name for picture in texts]
