# SPDX-License-Identifier: Apache-2.0
"""The moving average of the weights: it equals diffusers', is saved beside each LoRA, and resumes exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.training_utils import EMAModel

from library.files.safetensors_file import load
from library.lora import network
from library.optim.ema import MovingAverage
from tests.sd_scripts.command_line import options
from tests.sd_scripts.in_process import run
from tests.sd_scripts.lora.models import tiny_transformer
from tests.sd_scripts.running import Settings

SHORT = "--network_train_unet_only --max_train_epochs 2 --save_every_n_steps 5 --save_last_n_steps 1"


def test_averages_are_those_of_diffusers() -> None:
    lora = network.build(options(), transformer=tiny_transformer(), clip=None, seed=0)
    ours = MovingAverage(lora, decay=0.5)
    theirs = EMAModel(lora.parameters(), decay=0.5)
    drawn = torch.Generator().manual_seed(1)
    for step in range(1, 20):
        with torch.no_grad():
            for parameter in lora.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=drawn))
        ours.update(step)
        theirs.step(lora.parameters())
        before = [parameter.detach().clone() for parameter in lora.parameters()]
        with ours.in_network():
            for parameter, expected in zip(lora.parameters(), theirs.shadow_params, strict=True):
                assert torch.allclose(parameter, expected, atol=1e-6)
        assert all(torch.equal(one, other) for one, other in zip(before, lora.parameters(), strict=True))


@pytest.mark.parametrize("rest", ["", "--optimizer_type AdamWScheduleFree"])
def test_a_resumed_average_equals_the_uninterrupted_one(rest: str, settings: Settings, tmp_path: Path) -> None:
    words = f"{SHORT} --ema_decay 0.9 {rest}"
    whole = run(settings.plus(words, output="whole"))
    assert (whole.error, whole.steps[-1]) == (None, 12)
    files = {path.name for path in (tmp_path / "whole").glob("*.safetensors")}
    assert {"lora.safetensors", "lora-ema.safetensors", "lora-step00000010-ema.safetensors"} <= files
    assert "lora-step00000005-ema.safetensors" not in files, "it is outdated"

    pieces = settings.plus(words, output="pieces")
    assert run(pieces, stop_after=7).status == 143
    resumed = run(pieces.plus(f"--resume {tmp_path / 'pieces' / 'lora-step00000007-state'}"))
    assert (resumed.error, resumed.steps[-1]) == (None, 12)
    averages = [load(tmp_path / name / "lora-ema.safetensors") for name in ("whole", "pieces")]
    assert all(torch.equal(averages[0][key], averages[1][key]) for key in averages[0])
    weights = load(tmp_path / "whole" / "lora.safetensors")
    assert averages[0].keys() == weights.keys()
    assert any(not torch.equal(averages[0][key], weights[key]) for key in weights)


def test_a_state_without_an_average_starts_one(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings.plus(SHORT), stop_after=3).status == 143
    state = settings.output_dir / "lora-step00000003-state"
    assert not (state / "ema.safetensors").exists()
    assert run(settings.plus(f"{SHORT} --ema_decay 0.9 --resume {state}"), stop_after=4).status == 143
    assert "the moving average of --ema_decay starts from its weights" in capsys.readouterr().err
    begun = load(settings.output_dir / "lora-step00000004-state" / "ema.safetensors")
    assert any(tensor.any() for key, tensor in begun.items() if key.endswith("lora_up.weight"))
