# SPDX-License-Identifier: Apache-2.0
"""Samples: any number, from fixed seeds, at step 0 too. One that fails neither ends nor changes the training."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from library.files.safetensors_file import load
from library.flux.autoencoder import Autoencoder
from library.flux.model import Flux
from library.sample import contact_sheet, sampling
from library.train import loop
from tests.harness.namespace import need_root
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Settings, make_models, make_pictures, running

SHEET = "lora-contact-sheet.png"
# What a sample could disturb: the default generators (dropout), the optimizer's mode, the network's mode.
TRAINING = "--network_dropout 0.2 --max_train_epochs 2 --network_train_unet_only --optimizer_type AdamWScheduleFree"


def samples_in(settings: Settings) -> dict[str, Path]:
    """Samples by name without the date, in order."""
    found = (settings.output_dir / "sample").glob("*_*.png")
    return {re.sub(r"_\d{14}", "", path.stem): path for path in sorted(found)}


def pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.convert("RGB").tobytes()


def test_prompts_are_sampled_from_fixed_seeds_before_the_first_step_and_after_the_last(settings: Settings) -> None:
    """The learning rate changes nothing, so the same noise makes the same picture."""
    prompts = settings.folder / "prompts.txt"
    lines = ["a red square --d 7", "a red square", "a red square --d 7", *["nothing"] * 9]
    prompts.write_text("".join(f"{line} --w 64 --h 64 --s 1\n" for line in lines))
    still = "--learning_rate 1e-30 --max_train_epochs 1 --save_every_n_epochs 9 --network_train_unet_only"
    assert run(settings.plus(f"{still} --sample_prompts {prompts} --sample_at_first --sample_every_n_epochs 1")).steps

    samples = samples_in(settings)
    assert len(samples) == 2 * len(lines)
    made = {name: pixels(path) for name, path in samples.items()}
    assert made["lora_e000000_00_7"] == made["lora_e000000_02_7"] == made["lora_e000001_00_7"]
    assert made["lora_e000000_01"] == made["lora_e000001_01"] != made["lora_e000000_00_7"]
    assert len({made[f"lora_e000000_{index:02d}"] for index in range(3, 12)}) == 9
    with Image.open(settings.output_dir / "sample" / SHEET) as sheet:
        assert sheet.size == contact_sheet.Layout(rows=12, columns=2, side=64).size


def test_a_resumed_run_continues_the_sheet(settings: Settings) -> None:
    """It is stopped in the second epoch. The first epoch's column exists then, and is unchanged at the end."""
    whole = settings.with_samples().plus("--network_train_unet_only --max_train_epochs 2")
    stopped = run(whole, stop_after=8)
    assert stopped.status == 143
    sheet = settings.output_dir / "sample" / SHEET
    layout = contact_sheet.Layout(rows=2, columns=2, side=64)
    with Image.open(sheet) as picture:
        assert picture.size == layout.size
        before = picture.convert("RGB")
    assert run(whole.plus(f"--resume {settings.output_dir / 'lora-step00000008-state'}")).error is None

    layout = contact_sheet.Layout(rows=2, columns=3, side=64)
    with Image.open(sheet) as picture:
        assert picture.size == layout.size
        after = picture.convert("RGB")
    for column, epoch in enumerate(("e000000", "e000001", "e000002")):
        for row, rest in enumerate(("00_7", "01")):
            box = layout.cell(row, column)
            cell = (box.left, box.top, box.left + box.width, box.top + box.height)
            assert after.crop(cell).tobytes() == pixels(samples_in(settings)[f"lora_{epoch}_{rest}"])
            if column < 2:
                assert after.crop(cell).tobytes() == before.crop(cell).tobytes()


# ---- failures ------------------------------------------------------------------------------------------------------


def out_of_memory(*_: object) -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.50 GiB")


def in_the_decoder(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(Autoencoder, "decode", out_of_memory)
    return settings


def in_the_middle_of_the_transformer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Fails in the first single block, and only without gradients, like a sample whose size does not fit."""
    forward = Flux.forward

    def forward_or_fail(transformer: Flux, *inputs: Any) -> torch.Tensor:
        if torch.is_grad_enabled():
            return forward(transformer, *inputs)
        block = transformer.single_blocks[0]
        monkeypatch.setattr(block, "forward", out_of_memory)
        try:
            return forward(transformer, *inputs)
        finally:
            monkeypatch.undo()
            monkeypatch.setattr(Flux, "forward", forward_or_fail)

    monkeypatch.setattr(Flux, "forward", forward_or_fail)
    return settings


def with_a_torn_autoencoder(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The file is torn after the pictures are encoded."""
    copy = settings.folder / "torn.safetensors"
    shutil.copy(settings.models.folder / "ae.safetensors", copy)
    make = loop.Sampler

    def tear(**arguments: Any) -> sampling.Sampler:
        with copy.open("r+b") as file:
            file.truncate(copy.stat().st_size // 2)
        return make(**arguments)

    monkeypatch.setattr(loop, "Sampler", tear)
    return settings.plus(f"--ae {copy}")


def with_a_file_in_the_place_of_the_folder(settings: Settings, _: pytest.MonkeyPatch) -> Settings:
    settings.output_dir.mkdir()
    (settings.output_dir / "sample").write_text("in the way")
    return settings


Breaking = Callable[[Settings, pytest.MonkeyPatch], Settings]
FAILURES: dict[Breaking, tuple[int, str]] = {
    in_the_decoder: (4, r"the sample lora_e00000\d_0\d_\S+ is skipped: the GPU has too little memory left for it"),
    in_the_middle_of_the_transformer: (
        4,
        r"the sample lora_e00000\d_0\d_\S+ is skipped: the GPU has too little memory",
    ),
    with_a_torn_autoencoder: (2, r"no samples are made: --ae: \S+torn.safetensors is damaged"),
    with_a_file_in_the_place_of_the_folder: (
        4,
        r"the sample lora_e00000\d_0\d_\S+ is skipped: .*(File exists|Not a dir)",
    ),
}


@pytest.mark.parametrize("failing", FAILURES, ids=lambda failing: failing.__name__)
def test_samples_that_fail_neither_end_nor_change_the_training(
    failing: Breaking, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    count, sentence = FAILURES[failing]
    plain = settings.plus(TRAINING, output="plain")
    assert run(plain).error is None
    capsys.readouterr()

    broken = failing(settings.plus(TRAINING), monkeypatch)
    outcome = run(broken.with_samples().plus("--sample_every_n_epochs 2"))
    assert (outcome.error, outcome.status, outcome.steps[-1]) == (None, None, 12)
    said = [line for line in capsys.readouterr().out.splitlines() if "; the training continues" in line]
    assert len(said) == count, said
    assert all(re.match(f"warning: {sentence}", line) for line in said), said
    for file in ("lora.safetensors", "lora-state/model.safetensors"):
        one, other = (load(run.output_dir / file) for run in (plain, broken))
        assert all(torch.equal(one[key], other[key]) for key in one)
    sample = settings.output_dir / "sample"
    assert not sample.is_dir() or not list(sample.iterdir())


def test_a_sample_may_fail_while_blocks_are_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends in the middle of a forward pass, with some blocks on the device and others not."""
    sizes = "--hidden 64 --heads 2 --double-blocks 4 --single-blocks 6"
    deep = Settings(
        models=make_models(tmp_path / "models", *sizes.split()),
        folder=tmp_path,
        pictures=make_pictures(tmp_path / "pictures", 3),
    ).plus(f"{TRAINING} --mixed_precision bf16 --blocks_to_swap 2")
    assert run(deep.plus("", output="plain")).error is None
    failing = in_the_middle_of_the_transformer(deep, monkeypatch).with_samples()
    assert run(failing).error is None
    assert capsys.readouterr().out.count("is skipped: the GPU has too little memory left for it") == 6
    one, other = (load(tmp_path / name / "lora.safetensors") for name in ("plain", "out"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_full_disk_costs_only_the_samples(settings: Settings) -> None:
    """A real file system without room for one sample. Only root can mount it."""
    need_root("mounts a small file system")
    sample = settings.output_dir / "sample"
    sample.mkdir(parents=True)
    script = 'mount -t tmpfs -o size=4k tmpfs "$0" && yes > "$0/full"; "$@"; status=$?; ls -A "$0"; exit $status'
    command = ("unshare", "--mount", "sh", "-c", script, str(sample))
    with running(settings.with_samples().plus("--network_train_unet_only --max_train_epochs 1"), command) as trainer:
        outcome = trainer.finish()
    assert outcome.status == 0, outcome.stderr
    assert "Traceback" not in outcome.stderr
    said = re.findall(
        r"^warning: the sample \S+ is skipped: \[Errno 28\] No space left", outcome.stdout, re.MULTILINE
    )
    assert len(said) == 4
    assert outcome.stdout.splitlines()[-2:] == ["training finished", "full"], "nothing half is left"
    assert outcome.lora.is_file()
