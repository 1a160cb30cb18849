# SPDX-License-Identifier: Apache-2.0
"""A training whose losses are no longer finite ends, says so, and leaves its good states as they are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from library.errors import TrainerError
from library.files.safetensors_file import load
from library.report.loss_reader import FiniteWatch, LossReader
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Models, Settings

# Adam's first step changes each weight by the learning rate. The square of the output then overflows.
DIVERGES = "--network_train_unet_only --learning_rate 1e30 --max_train_epochs 2"


def test_three_losses_in_a_row_end_the_run() -> None:
    watch = FiniteWatch()
    for step, loss in enumerate([1.0, math.nan, math.inf, 1.0, math.nan, -math.inf], start=1):
        watch.see(step, loss)
    with pytest.raises(TrainerError, match="the loss was not finite in steps 5 to 7"):
        watch.see(7, math.nan)


def test_losses_arrive_in_order() -> None:
    reader = LossReader()
    for step in (1, 2, 3):
        reader.put(step, torch.tensor(float(step)), {"norm": torch.tensor(step)} if step == 2 else None)
    assert list(reader.take()) == [(1, 1.0, {}), (2, 2.0, {"norm": 2.0}), (3, 3.0, {})]
    assert list(reader.take(every=True)) == []


def test_a_run_that_diverges_ends_with_a_sentence(settings: Settings) -> None:
    outcome = run(settings.plus(f"{DIVERGES} --save_every_n_epochs 9"))
    assert outcome.error is not None
    assert "the loss was not finite in steps 2 to 4" in outcome.error
    assert outcome.steps == [1, 2, 3, 4]
    assert not list(settings.output_dir.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("flag", "name", "key"),
    [
        ("pretrained_model_name_or_path", "flux1-dev", "single_blocks.0.linear1.weight"),
        ("clip_l", "clip_l", "text_model.final_layer_norm.weight"),
        ("t5xxl", "t5xxl_fp16", "encoder.final_layer_norm.weight"),
    ],
)
def test_a_nan_in_a_model_is_not_blamed_on_the_learning_rate(
    flag: str, name: str, key: str, settings: Settings, models: Models, tmp_path: Path
) -> None:
    """No loss is finite, from the first step on. A save before the third of them gives the same sentence."""
    path = tmp_path / f"{name}.safetensors"
    tensors = load(models.folder / path.name)
    tensors[key] = tensors[key].clone()
    tensors[key].view(-1)[0] = math.nan
    (tmp_path / "tokenizers").symlink_to(models.folder / "tokenizers")
    save_file(tensors, path)
    for words in ("", "--save_every_n_steps 1"):
        outcome = run(settings.plus(f"--{flag} {path} {words}"))
        assert outcome.error == (
            f"--{flag}: {path} contains NaN or infinity in {key}, so no loss can be computed with it; "
            "copy or download it again, or use another file"
        )
    assert not list(settings.output_dir.glob("*.safetensors"))


def test_an_overflowing_first_loss_is_not_blamed_on_a_file(settings: Settings, tmp_path: Path) -> None:
    """As with a cache that another program filled with NaN. Here the initial LoRA makes numbers overflow."""
    assert run(settings.plus("--max_train_epochs 1 --network_train_unet_only", output="first")).error is None
    lora = load(tmp_path / "first" / "lora.safetensors")
    huge = {key: torch.full_like(tensor, 1e20) if key.endswith("weight") else tensor for key, tensor in lora.items()}
    save_file(huge, tmp_path / "x.safetensors")
    words = f"--network_weights {tmp_path / 'x.safetensors'} --network_train_unet_only"
    outcome = run(settings.plus(words))
    assert outcome.error is not None
    assert outcome.error.startswith(
        "no loss was finite, not even in the first step, where the learning rate has no effect yet"
    )


def test_a_state_that_had_already_diverged_is_reported(settings: Settings) -> None:
    """Its weights are finite, but its losses are not, at any learning rate. An earlier state would help."""
    assert run(settings.plus("--network_train_unet_only --learning_rate 1e20"), stop_after=1).error is None
    state = settings.output_dir / "lora-step00000001-state"
    outcome = run(settings.plus(f"--network_train_unet_only --learning_rate 1e-6 --resume {state}"))
    assert outcome.error is not None
    assert outcome.error.startswith(f"the loss was not finite from the first step after {state} on")
    assert "resume from an earlier state or start over" in outcome.error


def test_weights_with_nan_are_never_saved(settings: Settings) -> None:
    outcome = run(settings.plus(f"{DIVERGES} --save_every_n_steps 1 --save_last_n_steps 1"))
    assert outcome.error is not None
    assert "the loss was not finite up to step 2, and neither are the weights, so nothing is saved" in outcome.error
    kept = {path.name for path in settings.output_dir.iterdir()}
    assert kept == {"lora-step00000001.safetensors", "lora-step00000001-state"}
    weights = load(settings.output_dir / "lora-step00000001-state" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_stop_after_divergence_saves_nothing(settings: Settings, tmp_path: Path) -> None:
    outcome = run(settings.plus(DIVERGES), stop_after=2)
    assert outcome.error is not None
    assert "nothing is saved" in outcome.error
    assert list((tmp_path / "out").iterdir()) == []
