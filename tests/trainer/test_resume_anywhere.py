# SPDX-License-Identifier: Apache-2.0
"""Any number of interruptions, at any step, also with accumulated and with short last batches."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.trainer.in_process import run
from tests.trainer.running import Settings
from tests.trainer.test_resume import assert_same_lora, assert_trained


@pytest.mark.parametrize(
    "flags",
    [
        "--network_train_unet_only",
        "--network_train_unet_only --train_batch_size 4 --gradient_accumulation_steps 1",
        "--gradient_accumulation_steps 4 --gradient_checkpointing --mixed_precision bf16 --max_train_steps 5",
    ],
)
def test_interrupted_at_random_steps(flags: str, settings: Settings, tmp_path: Path) -> None:
    whole = run(settings.plus(flags, output="whole"))
    assert (whole.error, whole.status) == (None, None)
    total = whole.steps[-1]
    assert whole.steps == list(range(1, total + 1))
    assert_trained(tmp_path / "whole" / "lora.safetensors")

    pieces = settings.plus(flags, output="pieces")
    stops = sorted(random.Random(flags).sample(range(1, total + 1), k=3))
    seen: list[int] = []
    resume = ""
    for stop in stops:
        outcome = run(pieces.plus(resume), stop_after=stop)
        assert (outcome.error, outcome.status) == (None, 143)
        seen += outcome.steps
        resume = f"--resume {tmp_path / 'pieces' / f'lora-step{stop:08d}-state'}"
    assert not (tmp_path / "pieces" / "lora.safetensors").exists()
    last = run(pieces.plus(resume))
    assert (last.error, last.status) == (None, None)
    assert seen + last.steps == whole.steps
    assert_same_lora(tmp_path / "whole" / "lora.safetensors", tmp_path / "pieces" / "lora.safetensors")
