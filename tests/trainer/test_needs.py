# SPDX-License-Identifier: Apache-2.0
"""What surely does not fit is refused with the numbers; the figures are those of the real Flux."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from library import needs
from library.errors import TrainerError
from library.flux_model import Flux, FluxConfig, read_config
from library.lora import LoRANetwork
from library.needs import Needs, Room
from library.network_settings import NetworkSettings, read
from tests.trainer.in_process import run
from tests.trainer.running import Settings

DEV = FluxConfig(
    packed_channels=64,
    vector_width=768,
    text_width=4096,
    hidden=3072,
    mlp_hidden=12288,
    head_width=128,
    double_blocks=19,
    single_blocks=38,
    guidance=True,
)
FROZEN = 11_901_408_320
PER_RANK = 4_786_176  # numbers of a LoRA of rank 1 on all blocks (trainers.md 1.6: 4.79 M)
USUAL: dict[str, Any] = {
    "frozen": FROZEN,
    "lora": 16 * PER_RANK,
    "optimizer": "AdamW",
    "mixed_precision": "bf16",
    "save_precision": "bf16",
    "checkpointing": False,
    "tokens": 4096 + 512,
}


@pytest.fixture(scope="module")
def shapes() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Flux(DEV).named_parameters()}


def test_the_numbers_of_flux1_dev(shapes: dict[str, tuple[int, ...]]) -> None:
    assert read_config(shapes) == DEV
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == FROZEN
    assert needs.lora_numbers(shapes, NetworkSettings(), rank=16) == 16 * PER_RANK


@pytest.mark.parametrize(
    "args",
    [
        "",
        "train_blocks=single",
        "img_attn_dim=0 single_dim=2",
        "train_double_block_indices=0 network_reg_dims=txt_=7",
    ],
)
def test_a_lora_has_as_many_numbers_as_are_counted(args: str) -> None:
    pairs = [tuple(word.split("=", 1)) for word in args.split()]
    settings = read(pairs)  # type: ignore[arg-type]
    small = FluxConfig(
        packed_channels=64,
        vector_width=8,
        text_width=8,
        hidden=32,
        mlp_hidden=128,
        head_width=16,
        double_blocks=2,
        single_blocks=2,
        guidance=False,
    )
    flux = Flux(small)
    counted = needs.lora_numbers(
        {name: tuple(tensor.shape) for name, tensor in flux.named_parameters()}, settings, rank=4
    )
    made = LoRANetwork(transformer=flux, clip=None, rank=4, alpha=1, seed=0, settings=settings)
    assert counted == sum(parameter.numel() for parameter in made.parameters())


@pytest.mark.parametrize(
    ("changes", "device_gb", "disk_gb"),
    [
        ({}, 25.03, 1.07),
        ({"mixed_precision": "no", "save_precision": None}, 48.83, 1.23),
        ({"checkpointing": True}, 26.64, 1.07),  # one input a block: 1.6 GB (trainers.md 3)
        ({"optimizer": "adafactor"}, 24.42, 0.46),
        ({"lora": 128 * PER_RANK}, 33.60, 8.58),
    ],
)
def test_what_a_training_needs(changes: dict[str, Any], device_gb: float, disk_gb: float) -> None:
    found = needs.of_training(DEV, **USUAL | changes)
    assert (round(found.device / 1e9, 2), round(found.disk / 1e9, 2)) == (device_gb, disk_gb)


@pytest.mark.parametrize(
    ("room", "sentence"),
    [
        (Room(device=24_000_000_000, disk=10**12), "at least 25.0 GB of GPU memory, and the GPU has 24.0 GB"),
        (Room(device=None, disk=10**9), "--output_dir out: one LoRA and one state take at least 1.1 GB, and 1.0 GB"),
        (Room(device=80_000_000_000, disk=10**12), None),
        (Room(device=None, disk=10**12), None),
    ],
)
def test_what_cannot_fit_is_refused_with_the_numbers(room: Room, sentence: str | None) -> None:
    needed = needs.of_training(DEV, **USUAL)
    if sentence is None:
        needs.check(needed, room, output_dir="out")
        return
    with pytest.raises(TrainerError, match=sentence):
        needs.check(needed, room, output_dir="out")


def test_exactly_what_there_is_is_enough() -> None:
    needs.check(Needs(device=5, disk=7), Room(device=5, disk=7), output_dir="out")


def test_a_lora_that_the_disk_cannot_hold_is_refused_before_anything_is_loaded(settings: Settings) -> None:
    outcome = run(settings.plus("--network_dim 1000000000000"))
    assert outcome.error is not None
    assert outcome.error.startswith(f"--output_dir {settings.output_dir}: one LoRA and one state take at least ")
    assert not list(settings.output_dir.iterdir())
