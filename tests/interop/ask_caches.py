# SPDX-License-Identifier: Apache-2.0
"""Reads the caches beside a picture with the classes of kohya-ss/sd-scripts or with ours, and prints their digests.

    PYTHON ask_caches.py CHECKOUT|sd-scripts MODEL DATASET_TOML WIDTH HEIGHT TOKENS      prints JSON: SHA-256 by name

The folder decides which classes are used; PYTHON must have their requirements. Both packages are called `library`, so
each needs its own process. The picture is the first of the dataset, trained at WIDTH x HEIGHT.
"""

import hashlib
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy
import torch


def main(modules: Path, model: Path, dataset_toml: Path, width: int, height: int, tokens: int) -> None:
    sys.path.insert(0, str(modules))
    if (modules / "library" / "strategy_flux.py").is_file():
        arrays = upstream(dataset_toml, (width, height))
    else:
        arrays = ours(model, dataset_toml, tokens)
    print(json.dumps({name: digest(array) for name, array in arrays.items()}))


def upstream(dataset_toml: Path, size: tuple[int, int]) -> dict[str, Any]:
    """Reads the arrays with the caching strategies that sd-scripts' datasets use. Each must first accept its file."""
    from library.strategy_flux import FluxLatentsCachingStrategy, FluxTextEncoderOutputsCachingStrategy
    from PIL import Image

    (dataset,) = tomllib.loads(dataset_toml.read_text())["datasets"]
    picture = min(Path(dataset["subsets"][0]["image_dir"]).glob("*.png"))
    texts = FluxTextEncoderOutputsCachingStrategy(True, 1, False)
    file = texts.get_outputs_npz_path(str(picture))
    assert texts.is_disk_cached_outputs_expected(file)
    pooled, hidden, ids, mask = texts.load_outputs_npz(file)
    assert not ids.any()
    latents = FluxLatentsCachingStrategy(True, 1, False)
    with Image.open(picture) as opened:
        file = latents.get_latents_npz_path(str(picture), opened.size)
    assert latents.is_disk_cached_latents_expected(size, file, False, False)
    return {
        "pooled": pooled,
        "hidden": hidden,
        "mask": mask,
        "latents": latents.load_latents_from_disk(file, size)[0],
    }


def ours(model: Path, dataset_toml: Path, tokens: int) -> dict[str, Any]:
    """Reads the arrays with the classes that a training step uses. Both caches must be complete."""
    from library.cache.inputs import LatentInputs, TextInputs
    from library.cache.latent_cache import LatentCache
    from library.cache.text_cache import TextCache
    from library.data import dataset, dataset_config
    from library.family.port import TextSources
    from library.files import npz
    from library.flux.base_model import CACHE_NAMES
    from library.flux.encoding import TextFile

    picture = dataset.find(dataset_config.read(dataset_toml, defaults={})).pictures[0]
    encoders = {"clip": model / "clip_l.safetensors", "t5": model / "t5xxl_fp16.safetensors"}
    file = TextFile(names=CACHE_NAMES.text_arrays, t5_length=tokens)
    sources = TextSources(models=encoders, tokenizers=(), settings={"t5_length": tokens})
    of_texts = TextInputs(sources, CACHE_NAMES, dtype=str(torch.bfloat16))
    texts = TextCache(file, CACHE_NAMES, inputs=of_texts, on_disk=True)
    of_latents = LatentInputs(autoencoder=model / "ae.safetensors", names=CACHE_NAMES)
    latents = LatentCache(CACHE_NAMES, inputs=of_latents, on_disk=True)
    assert not texts.missing([picture])
    assert not latents.missing([picture])
    text = texts.text(picture)
    # A training does not need the mask, but sd-scripts reads it from our file.
    (mask,) = npz.read(CACHE_NAMES.text(picture), ("t5_attn_mask",)).values()
    return {
        "pooled": text["pooled"],
        "hidden": text["hidden"],
        "mask": mask,
        "latents": latents.latents(picture, flipped=False),
    }


def digest(array: Any) -> str:
    """Returns the SHA-256 of an array's shape, type and content."""
    array = numpy.ascontiguousarray(array)
    return hashlib.sha256(f"{array.shape} {array.dtype}".encode() + array.tobytes()).hexdigest()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), *map(int, sys.argv[4:]))
