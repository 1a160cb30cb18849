# SPDX-License-Identifier: Apache-2.0
"""--check_job --resume: whether a state fits, for each optimizer, and all differences if it does not."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import struct
import subprocess
import sys
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from library.errors import Damaged
from library.files.safetensors_header import read_shapes
from library.findings import Findings
from library.flux import encoder_config, loading, text_encoders
from library.flux.config import read_config
from library.lora import network
from library.optim import optimizer, schedulers
from library.optim.ema import MovingAverage
from library.optim.optimizer import LIKE_ADAMW, NAMED
from library.options.arguments import parse
from library.output import states
from library.output.progress import Progress
from tests.sd_scripts.check.asking import Answer, ask
from tests.sd_scripts.running import DEADLINE_SECONDS, PROGRAM, Settings

STEPS = 4
INSTALLED = [
    name
    for name, (path, _) in NAMED.items()
    if name in LIKE_ADAMW or importlib.util.find_spec(path.partition(".")[0]) is not None
]
"""The named optimizers whose package is installed, or which AdamW stands in for."""
OTHERS = ["torch.optim.NAdam", "Adagrad", "RMSprop"]


def state_of(settings: Settings, words: str = "") -> Path:
    """A state as a training with these settings writes it after some steps, made without the training."""
    options = parse(settings.plus(words).arguments())
    flux = read_config(read_shapes(options.pretrained_model_name_or_path, "--flux"))
    shapes = read_shapes(options.clip_l, "--clip_l")
    clip = text_encoders.clip_on_meta(encoder_config.clip_config(shapes)) if options.trains_clip else None
    lora = network.build(options, transformer=loading.on_meta(flux), clip=clip, seed=1)
    built = optimizer.build(lora, options, on_gpu=False)
    schedule = schedulers.build(built, options, total_steps=18)
    for _ in range(STEPS):
        for parameter in lora.parameters():
            parameter.grad = torch.full_like(parameter, 0.1)
        built.step()
        schedule.step()
    folder = settings.folder / "lora-step00000004-state"
    states.save(
        folder,
        network=lora,
        optimizer=built,
        scheduler=schedule,
        average=MovingAverage(lora, decay=options.ema_decay) if options.ema_decay is not None else None,
        progress=Progress(
            step=STEPS,
            epoch=1,
            total_steps=18,
            steps_per_epoch=6,
            seed=42,
            choices={},
            processes=1,
        ),
    )
    return folder


def verdict(settings: Settings, folder: Path, words: str = "") -> tuple[str, list[str]]:
    found = ask(settings, f"--resume {folder} {words}")
    assert found["state"]["path"] == str(folder)
    if found["state"]["verdict"] != "damaged":
        assert (found["state"]["step"], found["state"]["epoch"]) == (STEPS, 1)
    assert all(one["kind"] == "state" for one in found["problems"])
    return found["state"]["verdict"], [one["sentence"] for one in found["problems"]]


@pytest.mark.parametrize("name", [*INSTALLED, *OTHERS])
def test_the_state_of_each_optimizer_fits_itself(name: str, settings: Settings) -> None:
    words = f"--optimizer_type {name} --network_train_unet_only"
    folder = state_of(settings, words)
    assert verdict(settings, folder, words) == ("fits", [])
    # These settings may change:
    changes = "--learning_rate 2e-2 --max_train_epochs 5 --save_every_n_epochs 2 --seed 7"
    assert verdict(settings, folder, f"{words} {changes}") == ("fits", [])


@pytest.mark.parametrize(
    "words",
    [
        "--validation_split 0.34",
        "--ema_decay 0.9 --network_alpha 0",
        "--network_args loraplus_unet_lr_ratio=4 network_reg_lrs=img_attn=1e-3",
        "--lr_scheduler cosine --lr_warmup_steps 2",
        "--lr_scheduler_type CosineAnnealingLR --lr_scheduler_args T_max=18",
        "--network_args train_double_block_indices=none single_dim=3",
    ],
)
def test_settings_that_change_what_a_state_holds_fit_it(words: str, settings: Settings) -> None:
    assert verdict(settings, state_of(settings, words), words) == ("fits", [])


@pytest.mark.parametrize(
    ("made", "asked", "differences"),
    [
        ("", "--network_dim 3", ["its rank is 2, but this run's is 3 (--network_dim)"]),
        (
            "--network_train_unet_only",
            "--network_alpha 2 --optimizer_type prodigy",
            [
                "CLIP-L was not trained, but this run trains it (--network_train_unet_only)",
                "its alpha is 1, but this run's is 2 (--network_alpha)",
                "its optimizer is AdamW, but this run's is Prodigy (--optimizer_type)",
            ],
        ),
        (
            "--network_args train_blocks=double",
            "--network_args train_blocks=single",
            [
                (
                    "it lacks lora_unet_single_blocks_0_linear1 and 2 more layers "
                    "(other --network_args or another model)"
                ),
                (
                    "it has lora_unet_double_blocks_0_img_attn_proj and 9 more layers, which this run does not train "
                    "(other --network_args or another model)"
                ),
            ],
        ),
        ("--optimizer_type AdamW8bit", "--optimizer_type adamw", []),
        ("", "--optimizer_type sgdnesterov", ["its optimizer is AdamW, but this run's is SGD (--optimizer_type)"]),
    ],
)
def test_each_difference_is_reported(made: str, asked: str, differences: list[str], settings: Settings) -> None:
    folder = state_of(settings, made)
    found, sentences = verdict(settings, folder, asked)
    assert found == ("misfit" if differences else "fits")
    if differences:
        assert sentences == [
            f"--resume: {folder} does not fit this run: {'; '.join(differences)}; use the settings it was made with."
        ]


def test_a_run_that_ends_before_the_state(settings: Settings) -> None:
    shorter = dataclasses.replace(settings, repeats=1)  # 3 steps per epoch
    found, (sentence,) = verdict(shorter, state_of(shorter), "--max_train_epochs 1")
    assert found == "misfit"
    assert "the state is at step 4, but this run ends at step 3; ask for more epochs or steps." in sentence


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-70])


def gone(path: Path) -> None:
    path.unlink()


def nothing(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "scheduler.bin", "train_state.json"])
@pytest.mark.parametrize("spoil", [torn, gone, nothing])
def test_an_incomplete_state_is_damaged(spoil: Callable[[Path], None], name: str, settings: Settings) -> None:
    folder = state_of(settings, "--network_train_unet_only")
    spoil(folder / name)
    # The rank differs too, but whether a damaged state would fit cannot be said.
    found, (sentence,) = verdict(settings, folder, "--network_train_unet_only --network_dim 7")
    assert found == "damaged"
    assert name in sentence


def padded(path: Path) -> None:
    """Adds an unneeded list to a valid file: a pickle of a few MB can take gigabytes of memory."""
    state = torch.load(path, weights_only=True)
    torch.save(state | {"padding": list(range(1_000_000))}, path)


def compressed(path: Path) -> None:
    """Compresses the same content: a few kB can expand to as many GB."""
    with zipfile.ZipFile(path) as file:
        content = {entry.filename: file.read(entry) for entry in file.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)


@pytest.mark.parametrize("change", [padded, compressed])
def test_a_file_that_torch_does_not_write_is_damage(change: Callable[[Path], None], settings: Settings) -> None:
    folder = state_of(settings, "--network_train_unet_only")
    change(folder / "optimizer.bin")
    found, (sentence,) = verdict(settings, folder, "--network_train_unet_only")
    assert (found, sentence) == ("damaged", f"--resume: {folder / 'optimizer.bin'} is damaged; use another state.")


def test_a_state_of_sd_scripts_gets_warnings_about_doubtful_settings(settings: Settings) -> None:
    folder = state_of(settings, "--network_train_unet_only")
    (folder / "train_state.json").write_text(json.dumps({"current_epoch": 1, "current_step": STEPS}))
    found: Answer = ask(settings, f"--network_train_unet_only --resume {folder}")
    assert (found["problems"], found["state"]["verdict"]) == ([], "fits")
    (warning,) = found["warnings"]
    assert "is assumed to be at step 4, the value of its counter" in warning["sentence"]


def test_files_of_the_state_are_named(settings: Settings) -> None:
    folder = state_of(settings, "--network_train_unet_only")
    files = ask(settings, f"--network_train_unet_only --resume {folder}")["files"]
    assert {str(path) for path in (folder, *folder.iterdir())} <= set(files)


def test_a_state_under_its_older_name(settings: Settings) -> None:
    """A replacement that was cut short leaves only X-state.old."""
    folder = state_of(settings, "--network_train_unet_only")
    old = folder.with_name(folder.name + ".old")
    shutil.move(folder, old)
    found = ask(settings, f"--network_train_unet_only --resume {folder}")
    assert (found["problems"], found["state"]["path"]) == ([], str(old))


@pytest.mark.parametrize(
    ("name", "says"),
    [("optimizer.bin", "takes more memory to read than is available"), ("model.safetensors", "is damaged")],
)
def test_a_state_that_expands_beyond_the_memory_is_damaged(settings: Settings, name: str, says: str) -> None:
    folder = state_of(settings)
    if name == "optimizer.bin":
        content = b"\x80\x02(" + b"}" * 12_000_000 + b"t."  # one dictionary per byte
    else:
        header = b'{"a":[' + b"{}," * 12_000_000 + b"{}]}"
        content = struct.pack("<Q", len(header)) + header
    (folder / name).write_bytes(content)
    words = settings.plus(f"--check_job --resume {folder}").arguments()
    done = subprocess.run(
        ["bash", "-c", f'ulimit -d {700 * 1024}; exec "$@"', "bash", sys.executable, PROGRAM, *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["state"]["verdict"] == "damaged"
    (told,) = found["problems"]
    assert told["sentence"] == f"--resume: {folder / name} {says}; use another state."


@pytest.mark.parametrize("with_another_cause", [False, True])
def test_a_problem_keeps_nothing_of_what_was_read(with_another_cause: bool) -> None:
    """Otherwise the memory that a state filled would still be in use when the answer is written."""
    read = []

    def fill_the_memory() -> None:
        content = set[int]()
        read.append(weakref.ref(content))
        raise MemoryError

    def check() -> None:
        try:
            fill_the_memory()
        except MemoryError as error:
            raise Damaged("too large") from (ValueError() if with_another_cause else error)

    findings = Findings()
    with findings.gather("state"):
        check()
    assert [problem.sentence for problem in findings.problems] == ["Too large."]
    assert read[0]() is None
