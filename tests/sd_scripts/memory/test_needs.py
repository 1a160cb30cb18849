# SPDX-License-Identifier: Apache-2.0
"""A training that surely does not fit is refused with its figures. The sizes are those of the real Flux."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from library.errors import TrainerError
from library.flux import layers
from library.flux.base_model import text_bytes
from library.flux.config import FluxConfig, read_config
from library.flux.model import Flux
from library.lora.lora import LoRANetwork
from library.memory import needs
from library.memory.needs import Demand
from library.optim.optimizer import _class_of
from library.options.network_settings import NetworkSettings, read
from tests.sd_scripts.full_size import DEV, PER_RANK, shapes_of
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Settings

FROZEN = 11_901_408_320


def test_the_numbers_of_flux1_dev_are_counted() -> None:
    shapes = shapes_of(DEV)
    assert read_config(shapes) == DEV
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == FROZEN
    assert needs.lora_numbers(layers.of_transformer(shapes), NetworkSettings(), rank=16) == 16 * PER_RANK


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
    shapes = {name: tuple(tensor.shape) for name, tensor in flux.named_parameters()}
    counted = needs.lora_numbers(layers.of_transformer(shapes), settings, rank=4)
    made = LoRANetwork(transformer=flux, clip=None, rank=4, alpha=1, seed=0, settings=settings)
    assert counted == sum(parameter.numel() for parameter in made.parameters())


def test_a_lora_of_clip_has_as_many_numbers_as_are_counted() -> None:
    config = CLIPTextConfig(hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=2)
    clip = CLIPTextModel(config)
    # As in the file, with the prefix that transformers 5 dropped.
    shapes = {
        "text_model." + name.removeprefix("text_model."): tuple(tensor.shape)
        for name, tensor in clip.named_parameters()
    }
    counted = needs.lora_numbers(layers.of_clip(shapes), NetworkSettings(), rank=4)
    made = LoRANetwork(transformer=torch.nn.Module(), clip=clip, rank=4, alpha=1, seed=0)
    assert counted == sum(parameter.numel() for parameter in made.parameters()) > 0


@pytest.mark.parametrize("optimizer", ["AdamW", "Adafactor", "Prodigy", "AdamWScheduleFree", "torch.optim.RMSprop"])
def test_as_many_copies_are_kept_as_are_counted(optimizer: str) -> None:
    """Counts the large tensors in a real optimizer's state after a step."""
    parameter = torch.nn.Parameter(torch.randn(64, 48))
    arguments = {"relative_step": False, "lr": 1e-3} if optimizer == "Adafactor" else {"lr": 1e-3}
    made = _class_of(optimizer, optimizer.lower())([parameter], **arguments)
    if hasattr(made, "train"):
        made.train()
    parameter.square().sum().backward()
    made.step()
    kept = [value for value in made.state[parameter].values() if isinstance(value, torch.Tensor)]
    large = sum(tensor.numel() == parameter.numel() for tensor in kept)
    # Nothing is known about an optimizer without a name here, so as much as Adam keeps is assumed.
    expected = 2 if optimizer == "torch.optim.RMSprop" else large
    assert needs.copies(optimizer, average=False, processes=1) == 2 + expected
    assert needs.copies(optimizer, average=True, processes=2) == 4 + expected
    assert large <= expected


@pytest.mark.parametrize(
    ("optimizer", "rank", "precision", "gb"),
    [
        ("AdamW", 16, "bf16", 1.07),
        ("AdamW", 16, None, 1.23),
        ("adafactor", 16, "bf16", 0.46),
        ("AdamW8bit", 16, "bf16", 0.46),
        ("AdamW", 128, "bf16", 8.58),
        ("some.Class", 16, "bf16", 0.46),
    ],
)
def test_a_lora_and_a_state_take_the_computed_space(
    optimizer: str, rank: int, precision: str | None, gb: float
) -> None:
    count = needs.lora_and_state(rank * PER_RANK, optimizer=optimizer, save_precision=precision)
    assert round(count / 1e9, 2) == gb


def test_the_caches_of_one_picture_take_the_computed_space() -> None:
    caption = text_bytes(tokens=512, text_width=4096, vector_width=768)
    assert round(caption / 1e6, 1) == 8.4  # MB: 512 * 4096 numbers in fp32, and a little more
    assert needs.latents(1024 * 1024, pixels=8, channels=16, number=1, masked=False) == 128 * 128 * 16 * 4
    counted = needs.latents(64 * 64, pixels=8, channels=16, number=2, masked=True)
    assert counted == 2 * 8 * 8 * 16 * 4 + 64 * 64 * 4


LORA = Demand(count=10**9, what="one LoRA and one state", where="--output_dir out")
CACHES = Demand(count=10**8, what="the caches", where="pictures")


@pytest.mark.parametrize(
    ("demands", "free", "sentence"),
    [
        ([LORA], 10**9, None),
        (
            [LORA],
            10**9 - 1,
            "at least 1.0 GB for one LoRA and one state in --output_dir out, but only 1.0 GB is free there",
        ),
        ([LORA, CACHES], 11 * 10**8, None),
        (
            [LORA, CACHES],
            10**9,
            "in --output_dir out and 0.1 GB for the caches in pictures, but only 1.0 GB is free there",
        ),
    ],
)
def test_a_training_that_does_not_fit_on_the_disk_is_refused(
    demands: list[Demand], free: int, sentence: str | None
) -> None:
    if sentence is None:
        needs.check_disk(demands, free=free)
        return
    with pytest.raises(TrainerError, match=sentence):
        needs.check_disk(demands, free=free)


def test_a_training_that_does_not_fit_in_host_memory_is_refused() -> None:
    demands = [Demand(count=6 * 10**9, what="blocks that take turns"), Demand(count=0, what="nothing"), CACHES]
    needs.check_host(demands, free=61 * 10**8)
    sentence = r"6.1 GB of host memory \(6.0 GB for blocks that take turns, 0.1 GB for the caches\), but only 6.0 GB"
    with pytest.raises(TrainerError, match=sentence):
        needs.check_host(demands, free=6 * 10**9)


def test_a_lora_that_no_machine_can_hold_is_refused_before_anything_is_loaded(settings: Settings) -> None:
    outcome = run(settings.plus("--network_dim 100000000"))
    assert outcome.error is not None
    assert outcome.error.startswith("this training needs ")
    assert not list(settings.output_dir.iterdir())
