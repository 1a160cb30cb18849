# SPDX-License-Identifier: Apache-2.0
"""Trainings on datasets in which everything varies: several sizes, mirrored pictures, captions that are shuffled and
dropped, masks, regularisation pictures. Interrupted trainings end like the undisturbed one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Settings, make_pictures

SIZES = ((80, 64), (64, 64), (60, 130), (200, 70))
TOML = """
[general]
caption_extension = '.txt'
enable_bucket = true
bucket_reso_steps = 32
min_bucket_reso = 32
max_bucket_reso = 256
{general}
[[datasets]]
resolution = 64
batch_size = 2
[[datasets.subsets]]
image_dir = '{pictures}'
num_repeats = 2
flip_aug = true
alpha_mask = true
[[datasets.subsets]]
image_dir = '{others}'
is_reg = true
[[datasets]]
resolution = 96
[[datasets.subsets]]
image_dir = '{pictures}'
caption_prefix = 'large,'
"""
CHANGING = """
shuffle_caption = true
keep_tokens = 1
caption_tag_dropout_rate = 0.3
caption_dropout_rate = 0.2
"""


@pytest.fixture
def lively(settings: Settings, tmp_path: Path) -> Settings:
    """A training with 9 batches an epoch, with every kind of picture among them."""
    for path, size in zip(sorted(settings.pictures.glob("*.png")), SIZES, strict=False):
        picture = Image.open(path).resize(size).convert("RGBA")
        picture.putalpha(Image.linear_gradient("L").resize(size))
        picture.save(path)
        path.with_suffix(".txt").write_text(f"{path.stem}, square, sharp, {size[0]} wide\n")
    others = make_pictures(tmp_path / "others", 2)
    toml = TOML.format(pictures=settings.pictures, others=others, general=CHANGING)
    (settings.folder / "dataset.toml").write_text(toml)
    return settings


def tensors(settings: Settings) -> dict[str, torch.Tensor]:
    return load_file(settings.output_dir / "lora.safetensors")


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def test_any_interruption_leads_to_the_same_result(lively: Settings) -> None:
    assert run(lively).error is None
    disturbed = dataclasses.replace(lively, output="disturbed")
    stopped_at = 0
    for stop_after in (3, 11):  # in the first epoch, and in the second
        arguments = f"--resume {disturbed.output_dir / f'lora-step{stopped_at:08d}-state'}" if stopped_at else ""
        outcome = run(disturbed.plus(arguments), stop_after=stop_after)
        assert (outcome.error, outcome.status) == (None, 143)
        assert outcome.steps == list(range(stopped_at + 1, stop_after + 1))
        stopped_at = stop_after
    outcome = run(disturbed.plus(f"--resume {disturbed.output_dir / 'lora-step00000011-state'}"))
    assert outcome.error is None
    assert_equal(tensors(lively), tensors(disturbed))
    assert any(tensor.abs().max() > 0 for key, tensor in tensors(lively).items() if "lora_up" in key)


def test_cold_warm_and_no_caches_train_the_same(lively: Settings) -> None:
    """Captions do not vary, except that some are dropped, so the outputs of T5 and CLIP are the same each time."""
    path = lively.folder / "dataset.toml"
    path.write_text(path.read_text().replace(CHANGING, "caption_dropout_rate = 0.3\n"))
    base = lively.plus("--network_train_unet_only --max_train_epochs 1")
    cached = "--cache_latents_to_disk --cache_text_encoder_outputs_to_disk"
    for output, words in (("memory", ""), ("cold", cached), ("warm", cached)):
        assert run(base.plus(words, output=output)).error is None
    memory, cold, warm = (tensors(dataclasses.replace(base, output=name)) for name in ("memory", "cold", "warm"))
    assert_equal(memory, cold)
    assert_equal(cold, warm)
    with numpy.load(lively.pictures / "2_0060x0130_flux.npz") as archive:
        names = {name for name in archive.files if not name.startswith("fluxgym")}
    # 32x96 for the first dataset (mirrored and masked too), 64x128 for the second.
    kinds = {"latents", "original_size", "crop_ltrb"}
    assert names == {f"{kind}_12x4" for kind in kinds | {"latents_flipped", "alpha_mask"}} | {
        f"{kind}_16x8" for kind in kinds
    }


def test_each_of_the_changes_affects_the_training(lively: Settings) -> None:
    path = lively.folder / "dataset.toml"
    toml = path.read_text()
    seen = set()
    changes = ("", "flip_aug = true", "alpha_mask = true", "is_reg = true", *CHANGING.strip().splitlines())
    for number, line in enumerate(changes):
        path.write_text(toml.replace(line + "\n", "") if line else toml)
        settings = lively.plus("--max_train_steps 8 --max_train_epochs 1", output=f"out{number}")
        assert run(settings).error is None
        with safe_open(settings.output_dir / "lora.safetensors", framework="pt") as file:
            seen.add(file.metadata()["sshs_model_hash"])
    assert len(seen) == len(changes)


def test_the_metadata_describes_the_dataset(lively: Settings) -> None:
    assert run(lively.plus("--max_train_epochs 1")).error is None
    with safe_open(lively.output_dir / "lora.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["ss_num_train_images"], metadata["ss_num_reg_images"]) == ("9", "2")
    first, second = json.loads(metadata["ss_datasets"])
    assert first["bucket_info"]["buckets"]["0"] == {"resolution": [32, 96], "count": 2}
    assert (first["min_bucket_reso"], first["max_bucket_reso"], second["resolution"]) == (32, 256, [96, 96])
    assert json.loads(metadata["ss_dataset_dirs"]) == {
        "pictures": {"n_repeats": 2, "img_count": 3},
        "pictures (2)": {"n_repeats": 1, "img_count": 3},
    }
    assert json.loads(metadata["ss_tag_frequency"])["pictures"]["square"] == 3
