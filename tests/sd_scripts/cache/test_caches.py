# SPDX-License-Identifier: Apache-2.0
"""Caches are sd-scripts' npz files, and are made again whenever they differ from what this run would make."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from library.data import dataset
from library.data.buckets import BucketRules, Size
from library.data.captions import CaptionRules
from library.data.dataset_config import DatasetConfig, SubsetConfig
from tests.sd_scripts.cache.material import find, latent_cache, missing, text_cache
from tests.sd_scripts.models import load_autoencoder
from tests.sd_scripts.running import Models


def test_names_and_arrays_are_sd_scripts(cached: Path, models: Models) -> None:
    assert missing(cached, models) == ([], [])
    with numpy.load(cached / "0_0080x0064_flux.npz", allow_pickle=False) as latents:
        assert latents["latents_8x8"].shape == (16, 8, 8)
        assert latents["latents_8x8"].dtype == numpy.float32
        assert latents["original_size_8x8"].tolist() == [80, 64]
        assert latents["crop_ltrb_8x8"].tolist() == [0, 6, 64, 57.2]
    with numpy.load(cached / "0_flux_te.npz", allow_pickle=False) as text:
        shapes = {name: text[name].shape for name in text.files if name != "fluxgym_seal"}
        assert not text["apply_t5_attn_mask"]
    assert shapes == {
        "l_pooled": (64,),
        "t5_out": (4, 64),
        "txt_ids": (4, 3),
        "t5_attn_mask": (4,),
        "apply_t5_attn_mask": (),
    }


def test_datasets_that_resize_a_picture_differently_to_one_bucket_share_the_first_ones_latents(
    models: Models, tmp_path: Path
) -> None:
    """Their arrays have one name. If each had latents of its own, every training would encode the picture again."""
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    subset = SubsetConfig(image_dir=tmp_path, caption_extension=".txt")
    configs = tuple(
        DatasetConfig(
            buckets=BucketRules(
                resolution=Size(side, side), enable_bucket=True, bucket_no_upscale=True, bucket_reso_steps=32
            ),
            batch_size=1,
            subsets=(subset,),
        )
        for side in (128, 96)
    )
    pictures = dataset.find(configs).pictures
    assert [(picture.bucket, picture.resized) for picture in pictures] == [(Size(96, 96), Size(100, 100))] * 2
    autoencoder = load_autoencoder(models)
    for picture in pictures:
        latent_cache(models).encode(picture, autoencoder)
    assert latent_cache(models).missing(pictures) == []


def new_caption(folder: Path) -> None:
    (folder / "1.txt").write_text("something else\n")


def new_picture(folder: Path) -> None:
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes())


def torn(folder: Path) -> None:
    for path in folder.glob("1_*.npz"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(folder: Path) -> None:
    for path in folder.glob("1_*.npz"):
        path.write_bytes(b"")


def written_over(folder: Path) -> None:
    """Rewrites caches as a program does that keeps arrays which it does not know, such as sd-scripts."""
    for path in folder.glob("1_*.npz"):
        with numpy.load(path) as archive:
            arrays = dict(archive)
        changed = next(name for name in arrays if name.startswith(("latents", "t5_out")))
        arrays[changed] = arrays[changed] * 2
        numpy.savez(path, **arrays)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (new_caption, ([], ["1.png"])),
        (new_picture, (["1.png"], [])),
        (torn, (["1.png"], ["1.png"])),
        (empty, (["1.png"], ["1.png"])),
        (written_over, (["1.png"], ["1.png"])),
    ],
)
def test_what_makes_a_cache_stale(
    change: Callable[[Path], None], expected: tuple[list[str], list[str]], cached: Path, models: Models
) -> None:
    change(cached)
    assert missing(cached, models) == expected


def test_other_settings_and_models_make_it_stale(cached: Path, models: Models, tmp_path: Path) -> None:
    pictures = find(cached).pictures
    assert len(text_cache(models, t5_length=5).missing(pictures)) == 2
    assert len(latent_cache(models).missing(find(cached, width=128).pictures)) == 2
    other = Models(folder=tmp_path / "other")
    other.folder.mkdir()
    for path in models.folder.glob("*.safetensors"):
        (other.folder / path.name).write_bytes(path.read_bytes()[:-1] + b"\1")
    assert (len(text_cache(other).missing(pictures)), len(latent_cache(other).missing(pictures))) == (2, 2)


def test_latents_of_two_sizes_share_a_file(cached: Path, models: Models) -> None:
    autoencoder = load_autoencoder(models)
    pictures = find(cached).pictures
    wide = find(cached, width=128).pictures
    before = latent_cache(models).latents(pictures[0], flipped=False)
    latent_cache(models).encode(wide[0], autoencoder)
    assert latent_cache(models).missing(pictures) == []
    assert torch.equal(latent_cache(models).latents(pictures[0], flipped=False), before)
    assert latent_cache(models).latents(wide[0], flipped=False).shape == (16, 8, 16)


def sd_scripts_wrote(folder: Path, *, newer: bool) -> None:
    """Rewrites the caches without our seals, one second newer or older than their sources."""
    for path in folder.glob("*.npz"):
        with numpy.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files if not name.startswith("fluxgym")}
        numpy.savez(path, **arrays)
        written = path.stat().st_mtime_ns
        for source in (folder / f"{path.name[0]}.png", folder / f"{path.name[0]}.txt"):
            moved = written + (-1 if newer else 1) * 1_000_000_000
            os.utime(source, ns=(moved, moved))


def test_caches_of_sd_scripts_count_if_they_are_newer(cached: Path, models: Models) -> None:
    sd_scripts_wrote(cached, newer=True)
    assert missing(cached, models) == ([], [])
    touch(cached / "0.txt")
    touch(cached / "1.png")
    both = ["0.png", "1.png"]
    assert missing(cached, models) == (both, both)
    sd_scripts_wrote(cached, newer=False)
    assert missing(cached, models) == (both, both)


def touch(path: Path) -> None:
    later = path.stat().st_mtime_ns + 10_000_000_000
    os.utime(path, ns=(later, later))


def test_a_cache_of_sd_scripts_that_holds_something_else_does_not_count(cached: Path, models: Models) -> None:
    """Made with another T5 length, a caption without this run's prefix, or from a photo that was not rotated."""
    sd_scripts_wrote(cached, newer=True)
    pictures = find(cached).pictures
    assert len(text_cache(models, t5_length=5).missing(pictures)) == 2
    prefixed = find(cached, captions=CaptionRules(caption_prefix="a photo of")).pictures
    assert len(text_cache(models).missing(prefixed)) == 2
    turned = [dataclasses.replace(picture, rotation=6) for picture in pictures]
    assert len(latent_cache(models).missing(turned)) == 2


def test_mirrored_latents_and_masks_are_added_to_a_cache(cached: Path, models: Models) -> None:
    autoencoder = load_autoencoder(models)
    before = latent_cache(models).latents(find(cached).pictures[0], flipped=False)
    pictures = find(cached, flip_aug=True, alpha_mask=True).pictures
    cache = latent_cache(models)
    assert len(cache.missing(pictures)) == 2
    cache.encode(pictures[0], autoencoder)
    assert [picture.path.name for picture in cache.missing(pictures)] == ["1.png"]
    assert torch.equal(cache.latents(pictures[0], flipped=False), before)
    mirrored = cache.latents(pictures[0], flipped=True)
    assert mirrored.shape == before.shape
    assert (mirrored.flip(2) - before).abs().mean() < (mirrored - before).abs().mean()
    assert torch.equal(cache.mask(pictures[0], flipped=True), torch.ones(8, 8))
    assert missing(cached, models) == ([], [])


def test_a_mask_is_the_mean_opacity_of_each_latents_pixels(cached: Path, models: Models) -> None:
    picture = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    picture.paste((0, 0, 255, 0), (0, 0, 12, 64))
    picture.save(cached / "0.png")
    found = find(cached, alpha_mask=True).pictures[0]
    cache = latent_cache(models)
    cache.encode(found, load_autoencoder(models))
    assert cache.mask(found, flipped=False)[3].tolist() == [0, 0.5, 1, 1, 1, 1, 1, 1]
    assert cache.mask(found, flipped=True)[3].tolist() == [1, 1, 1, 1, 1, 1, 0.5, 0]
