# SPDX-License-Identifier: Apache-2.0
"""A training whose numbers are no numbers any more ends, says so, and leaves its good states as they are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from library.errors import TrainerError
from library.loss_reader import FiniteWatch, LossReader
from library.safetensors_file import load
from tests.trainer.in_process import run
from tests.trainer.running import Settings

# Adam's first step moves each weight by the rate; the square of the output then overflows.
DIVERGES = "--network_train_unet_only --learning_rate 1e30 --max_train_epochs 2"


def test_three_losses_in_a_row_end_the_run() -> None:
    watch = FiniteWatch()
    for step, loss in enumerate([1.0, math.nan, math.inf, 1.0, math.nan, -math.inf], start=1):
        watch.see(step, loss)
    with pytest.raises(TrainerError, match="the loss was not finite in steps 5 to 7"):
        watch.see(7, math.nan)


def test_losses_come_in_their_order() -> None:
    reader = LossReader()
    for step in (1, 2, 3):
        reader.put(step, torch.tensor(float(step)))
    assert list(reader.take()) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert list(reader.take(every=True)) == []


def test_a_run_that_diverges_ends_with_a_sentence(settings: Settings) -> None:
    outcome = run(settings.plus(f"{DIVERGES} --save_every_n_epochs 9"))
    assert outcome.error is not None
    assert "the loss was not finite in steps 2 to 4" in outcome.error
    assert outcome.steps == [1, 2, 3, 4]
    assert not list(settings.output_dir.glob("*.safetensors"))


def test_weights_that_are_no_numbers_are_never_saved(settings: Settings) -> None:
    outcome = run(settings.plus(f"{DIVERGES} --save_every_n_steps 1 --save_last_n_steps 1"))
    assert outcome.error is not None
    assert "the loss was not finite up to step 2, and the weights are not either: nothing is saved" in outcome.error
    kept = {path.name for path in settings.output_dir.iterdir()}
    assert kept == {"lora-step00000001.safetensors", "lora-step00000001-state"}
    weights = load(settings.output_dir / "lora-step00000001-state" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_stop_of_a_run_that_diverged_saves_nothing(settings: Settings, tmp_path: Path) -> None:
    outcome = run(settings.plus(DIVERGES), stop_after=2)
    assert outcome.error is not None
    assert "nothing is saved" in outcome.error
    assert list((tmp_path / "out").iterdir()) == []
