# SPDX-License-Identifier: Apache-2.0
"""What the names of LoRAs and samples say about when they were saved."""

import pytest

from fluxgymd.trainers import output_names
from fluxgymd.trainers.output_names import Moment

DATE = "20261123131507"


@pytest.mark.parametrize(
    ("name", "epoch", "step"),
    [
        ("cat-000004.safetensors", 4, 40),
        ("cat-step00000015.safetensors", 2, 15),
        ("cat-000004-ema.safetensors", 4, 40),
        ("cat.safetensors", 9, 99),
        ("cat-ema.safetensors", 9, 99),
    ],
)
def test_a_lora_is_placed_by_its_name(name: str, epoch: int, step: int) -> None:
    (made,) = output_names.loras([name], "cat", steps_per_epoch=10, last=Moment(9, 99))
    assert (made.name, made.epoch, made.step) == (name, epoch, step)


@pytest.mark.parametrize(
    "name", ["dog.safetensors", "cats.safetensors", "cat-4.safetensors", "cat-000004-state", "cat.safetensors.tmp"]
)
def test_another_name_is_not_a_lora(name: str) -> None:
    assert list(output_names.loras([name], "cat", steps_per_epoch=10, last=Moment())) == []


@pytest.mark.parametrize(
    ("name", "epoch", "step", "number", "seed"),
    [
        (f"cat_e000004_00_{DATE}.png", 4, 40, 0, None),
        (f"cat_e000000_00_{DATE}.png", 0, 0, 0, None),
        (f"cat_000021_12_{DATE}_42.png", 3, 21, 12, 42),
        (f"cat_e000004_00_{DATE}_0.png", 4, 40, 0, 0),
        ("cat-contact-sheet.png", None, None, None, None),
    ],
)
def test_a_sample_is_placed_by_its_name(
    name: str, epoch: int | None, step: int | None, number: int | None, seed: int | None
) -> None:
    (made,) = output_names.samples([name], "cat", steps_per_epoch=10)
    assert made.name == f"sample/{name}"
    assert (made.epoch, made.step, made.number, made.seed) == (epoch, step, number, seed)


@pytest.mark.parametrize("name", [f"dog_e000004_00_{DATE}.png", "cat.png", f"cat_e4_00_{DATE}.png", "", "cat"])
def test_another_name_is_not_a_sample(name: str) -> None:
    assert list(output_names.samples([name], "cat", steps_per_epoch=10)) == []


def test_if_the_steps_per_epoch_are_unknown_only_what_the_name_says_is_reported() -> None:
    by_epoch, by_step = output_names.samples(
        [f"cat_e000004_00_{DATE}.png", f"cat_000021_00_{DATE}.png"], "cat", steps_per_epoch=None
    )
    assert [(one.epoch, one.step) for one in (by_epoch, by_step)] == [(4, None), (None, 21)]
