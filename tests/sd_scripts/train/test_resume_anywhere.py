# SPDX-License-Identifier: Apache-2.0
"""Any number of interruptions, at any step, also with accumulation and with short last batches."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from library.flow import batch_loss
from tests.sd_scripts.in_process import interrupted, run
from tests.sd_scripts.outcomes import assert_same_lora, assert_trained
from tests.sd_scripts.running import Settings


@pytest.mark.parametrize(
    "flags",
    [
        "--network_train_unet_only",
        "--network_train_unet_only --train_batch_size 4 --gradient_accumulation_steps 1",
        "--gradient_accumulation_steps 4 --gradient_checkpointing --mixed_precision bf16 --max_train_steps 5",
    ],
)
def test_a_run_interrupted_at_random_steps_ends_the_same(flags: str, settings: Settings, tmp_path: Path) -> None:
    whole = run(settings.plus(flags, output="whole"))
    assert (whole.error, whole.status) == (None, None)
    total = whole.steps[-1]
    assert whole.steps == list(range(1, total + 1))
    assert_trained(tmp_path / "whole" / "lora.safetensors")

    stops = sorted(random.Random(flags).sample(range(1, total + 1), k=3))
    interrupted(settings.plus(flags, output="pieces"), whole=whole.steps, stops=stops)
    assert_same_lora(tmp_path / "whole" / "lora.safetensors", tmp_path / "pieces" / "lora.safetensors")


OPTIMIZERS = {
    "adamw": "--network_dropout 0.1 --lr_scheduler cosine --ema_decay 0.9",
    "adafactor": "--network_train_unet_only --learning_rate 1e-3",
    "prodigy": "--network_train_unet_only --learning_rate 1 --lr_scheduler constant_with_warmup --lr_warmup_steps 20",
    "adamwschedulefree": "--network_train_unet_only --optimizer_args warmup_steps=20",
    "sgdnesterov": "--network_train_unet_only --lr_scheduler cosine_with_restarts --lr_scheduler_num_cycles 3",
}
"""Each optimizer whose package comes with the trainer, with flags that put more than weights into its state."""
CACHED = "--cache_latents_to_disk --cache_text_encoder_outputs_to_disk"
TWO_HUNDRED_STEPS = f"--max_train_epochs 10 --gradient_accumulation_steps 2 {CACHED}"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_promise_5_two_hundred_steps_survive_twenty_interruptions(
    optimizer: str, settings: Settings, tmp_path: Path
) -> None:
    """20 random steps of the 200 are followed by an interruption, in the middle of epochs too. The last step of an
    epoch has fewer batches."""
    long = dataclasses.replace(settings, repeats=13).plus(
        f"{TWO_HUNDRED_STEPS} --optimizer_type {optimizer} {OPTIMIZERS[optimizer]}"
    )
    whole = run(long.plus("", output="whole"))
    assert (whole.error, whole.steps) == (None, list(range(1, 201)))
    stops = sorted(random.Random(optimizer).sample(range(1, 200), k=20))
    interrupted(long.plus("", output="pieces"), whole=whole.steps, stops=stops)
    assert_trained(tmp_path / "whole" / "lora.safetensors")
    # The last LoRA, those of each epoch, and the averages.
    loras = sorted(path.name for path in (tmp_path / "whole").glob("*.safetensors"))
    assert len(loras) >= 10
    for lora in loras:
        assert_same_lora(tmp_path / "whole" / lora, tmp_path / "pieces" / lora)


def test_random_draws_without_a_generator_repeat_after_a_resume(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout draws from the default generators. Here each loss is multiplied by such a draw."""
    loss_of = batch_loss.loss_of
    drawn: dict[str, list[float]] = {"whole": [], "pieces": []}
    name = "whole"

    def with_a_draw(*arguments: Any, **keywords: Any) -> torch.Tensor:
        factor = 0.5 + torch.rand(())
        drawn[name].append(float(factor))
        return loss_of(*arguments, **keywords) * factor

    monkeypatch.setattr(batch_loss, "loss_of", with_a_draw)
    accumulated = settings.plus("--gradient_accumulation_steps 2")
    whole = run(accumulated.plus("", output="whole"))
    name = "pieces"
    interrupted(accumulated.plus("", output="pieces"), whole=whole.steps, stops=[2, 5])
    assert drawn["pieces"] == drawn["whole"]
    assert len(set(drawn["whole"])) == len(drawn["whole"])
    assert_same_lora(tmp_path / "whole" / "lora.safetensors", tmp_path / "pieces" / "lora.safetensors")
