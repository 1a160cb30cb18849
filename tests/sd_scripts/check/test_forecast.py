# SPDX-License-Identifier: Apache-2.0
"""--plan: the answer to --check_job, and what will happen to each picture. (The training itself is compared with it
in tests/sd_scripts/plans/.)"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy
import pytest
from PIL import Image

from library.check import forecast
from tests.sd_scripts.check.asking import Answer, ask
from tests.sd_scripts.running import DEADLINE_SECONDS, PROGRAM, Settings

CHANNELS = 16


def plan(settings: Settings, words: str = "") -> Answer:
    answer = ask(settings, words, question="--plan")
    assert answer["problems"] == []
    told: Answer = answer["plan"]
    return told


def write_dataset(settings: Settings, text: str) -> None:
    (settings.folder / "dataset.toml").write_text(text, encoding="utf-8")


def test_the_plan_is_the_answer_to_check_job_with_more_fields_in_its_plan(settings: Settings) -> None:
    checked, planned = ask(settings), ask(settings, question="--plan")
    assert {key: planned["plan"][key] for key in checked["plan"]} == checked["plan"]
    assert planned | {"plan": None} == checked | {"plan": None}
    wrong = ask(settings, "--clip_l gone.safetensors", question="--plan")
    assert [one["setting"] for one in wrong["problems"]] == ["clip_l"]
    assert wrong["plan"] is None


def test_the_program_prints_the_plan_without_torch_and_writes_nothing(settings: Settings) -> None:
    before = sorted(settings.folder.rglob("*"))
    words = settings.with_samples().plus("--plan --vram 12").arguments()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", PROGRAM, *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plan"]["totalSteps"] == 3 * settings.repeats * len(
        list(settings.pictures.glob("*.png"))
    )
    assert not [line for line in done.stderr.splitlines() if line.endswith("| torch")]
    new = {path.name for path in settings.folder.rglob("*")} - {path.name for path in before}
    assert new <= {"dataset.toml", "prompts.txt"}


def test_each_picture_has_its_bucket_its_size_and_its_crop(settings: Settings) -> None:
    folder = settings.folder / "sizes"
    folder.mkdir()
    for name, size in {"wide": (300, 150), "tall": (100, 200), "square": (90, 90)}.items():
        Image.new("RGB", size, "red").save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(name)
    write_dataset(
        settings,
        "[[datasets]]\nresolution = 128\nenable_bucket = true\nbucket_reso_steps = 32\nmin_bucket_reso = 64\n"
        f"max_bucket_reso = 256\nbatch_size = 2\n[[datasets.subsets]]\nimage_dir = '{folder}'\nnum_repeats = 3\n",
    )
    told = plan(settings)
    by_name = {one["path"].rpartition("/")[2]: one for one in told["pictureList"]}
    assert {name: (one["resized"], one["bucket"], one["crop"]) for name, one in by_name.items()} == {
        "wide.png": ([192, 96], [160, 96], [16, 0, 176, 96]),
        "tall.png": ([96, 192], [96, 160], [0, 16, 96, 176]),
        "square.png": ([128, 128], [128, 128], [0, 0, 128, 128]),
    }
    assert {tuple(one["size"]) for one in told["pictureList"]} == {(300, 150), (100, 200), (90, 90)}
    assert [bucket["repeatedPictures"] for bucket in told["buckets"]] == [3, 3, 3]
    assert [bucket["batches"] for bucket in told["buckets"]] == [2, 2, 2]
    assert told["batchesPerEpoch"] == 6


def test_regularisation_and_validated_pictures_are_marked(settings: Settings) -> None:
    write_dataset(
        settings,
        "[[datasets]]\nresolution = 64\nvalidation_split = 0.5\n"
        f"[[datasets.subsets]]\nimage_dir = '{settings.pictures}'\nnum_repeats = 2\n"
        f"[[datasets.subsets]]\nimage_dir = '{settings.pictures}'\nis_reg = true\n",
    )
    told = plan(settings, "--validate_every_n_epochs 1")
    count = len(list(settings.pictures.glob("*.png")))
    kinds = [(one["regularisation"], one["validated"]) for one in told["pictureList"]]
    assert kinds.count((False, True)) == count // 2
    assert {kind for kind in kinds if kind[0]} == {(True, False)}
    assert told["validations"] == 3


def test_tokens_are_counted_for_each_text_encoder(settings: Settings) -> None:
    caption = min(settings.pictures.glob("*.txt"))
    caption.write_text("a " * 90)
    told = plan(settings, "--network_train_unet_only")
    longest = max(told["pictureList"], key=lambda one: int(one["clipTokens"]))
    assert longest["path"] == str(caption.with_suffix(".png"))
    assert longest["clipTokens"] > told["clipReads"] == 77
    assert longest["t5Tokens"] > told["t5Reads"] == 16
    assert told["clipTrained"] is False


def test_caches_that_list_the_arrays_need_not_be_built(settings: Settings) -> None:
    words = "--cache_latents_to_disk --cache_text_encoder_outputs_to_disk --cache_text_encoder_outputs"
    count = len(list(settings.pictures.glob("*.png")))
    before = plan(settings, words)["caches"]
    assert (before["latents"], before["texts"]) == (count, count)
    assert before["bytes"] > 0
    zero = numpy.zeros(1)
    numpy.savez(
        settings.pictures / "0_0080x0064_flux.npz", latents_8x8=zero, original_size_8x8=zero, crop_ltrb_8x8=zero
    )
    numpy.savez(
        settings.pictures / "1_0080x0064_flux.npz", latents_4x4=zero, original_size_4x4=zero, crop_ltrb_4x4=zero
    )
    (settings.pictures / "2_0080x0064_flux.npz").write_bytes(b"PK\x03\x04 torn")
    after = plan(settings, words)["caches"]
    assert (after["latents"], after["texts"]) == (count - 1, count)
    # The file of the second picture exists, but without this size.
    assert before["bytes"] - after["bytes"] == 8 * 8 * CHANNELS * 4
    assert plan(settings)["caches"] == {"latents": count, "texts": count, "bytes": 0}  # in memory


@pytest.mark.parametrize(
    ("words", "gpu", "expected"),
    [
        ("", "", None),
        ("--vram 12", "", {"checkpointedBlocks": 0, "base": "full", "problem": None, "availableBytes": 12 * 10**9}),
        ("", str(24 * 10**9), {"checkpointedBlocks": 0, "availableBytes": int(24 * 10**9 * 0.95)}),
        ("--gradient_checkpointing --mixed_precision bf16", str(10**10), {"checkpointedBlocks": 2, "blocks": 2}),
    ],
)
def test_memory_is_estimated_if_that_of_the_gpu_is_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, words: str, gpu: str, expected: dict[str, Any] | None
) -> None:
    monkeypatch.setenv(forecast.GPU_BYTES, gpu)
    told = plan(settings, words)["memory"]
    if expected is None:
        assert told is None
    else:
        assert told | expected == told
        assert 0 < told["estimatedBytes"] < told["availableBytes"]


def test_a_gpu_that_is_too_small_is_told_in_the_words_of_the_training(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(forecast.GPU_BYTES, "1000")
    assert "this training needs about" in plan(settings)["memory"]["problem"]


def test_a_gpu_on_which_the_pictures_cannot_be_encoded_is_told_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(forecast.GPU_BYTES, str(600_000_000))
    write_dataset(
        settings,
        f"[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = '{settings.pictures}'\n",
    )
    told = plan(settings)["memory"]
    assert told["problem"].startswith("encoding the pictures needs about 0.7 GB of GPU memory before the training")


def test_the_tokens_of_a_caption_with_wildcards_are_those_of_the_longest_text_that_may_be_drawn(
    settings: Settings,
) -> None:
    first, second = sorted(settings.pictures.glob("*.txt"))[:2]
    first.write_text("a\na {red|green green|blue} {{b}}\n{c|d|e|f|g|h} i")
    second.write_text("a green green {{b}}")
    told = {one["path"]: one["t5Tokens"] for one in plan(settings, "--enable_wildcard")["pictureList"]}
    assert told[str(first.with_suffix(".png"))] == told[str(second.with_suffix(".png"))]
