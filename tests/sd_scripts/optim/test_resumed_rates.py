# SPDX-License-Identifier: Apache-2.0
"""A resumed run trains with the learning rate that the command line asks for: users are advised to lower it after a
loss that is not finite."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from library.optim import optimizer as optimizers
from library.optim import resumed_rates, schedulers
from library.options.arguments import parse
from tests.sd_scripts.command_line import REQUIRED
from tests.sd_scripts.in_process import run
from tests.sd_scripts.outcomes import assert_same_lora
from tests.sd_scripts.running import Settings

TOTAL, DONE = 20, 7


def made(words: str, rate: float) -> tuple[Optimizer, LRScheduler]:
    options = parse([*REQUIRED.split(), *words.split(), "--learning_rate", str(rate)])
    groups = [{"params": [nn.Parameter(torch.ones(2, 2))], "lr": rate * factor} for factor in (1, 4)]
    optimizer = optimizers.of_groups(groups, options, on_gpu=False, warn=lambda _sentence: None)
    return optimizer, schedulers.build(optimizer, options, total_steps=TOTAL)


def walk(optimizer: Optimizer, scheduler: LRScheduler, steps: int) -> list[list[float]]:
    """The groups' rates at each of `steps` steps."""
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        scheduler.step()
    return rates


SCHEDULES = [
    "",
    "--lr_scheduler cosine --lr_warmup_steps 10",
    "--lr_scheduler polynomial --lr_scheduler_power 2",
    "--lr_scheduler_type CosineAnnealingLR --lr_scheduler_args T_max=20 eta_min=0.0001",
    "--lr_scheduler_type StepLR --lr_scheduler_args step_size=3 gamma=0.5",
    "--optimizer_type AdamWScheduleFree",
]


@pytest.mark.parametrize("words", SCHEDULES)
@pytest.mark.parametrize("new", [0.01, 0.0005])
def test_the_rates_are_those_of_a_run_that_had_the_new_rate_from_the_start(words: str, new: float) -> None:
    before, schedule_before = made(words, 0.01)
    walk(before, schedule_before, DONE)
    resumed, schedule = made(words, new)
    rates = resumed_rates.of_run(resumed, schedule)
    resumed.load_state_dict(before.state_dict())
    schedule.load_state_dict(schedule_before.state_dict())
    told = resumed_rates.use(rates, schedule)
    if new == 0.01:
        assert told is None
    else:
        # The rate of the last group, which is the transformer's in a training.
        assert told == "the learning rate is 0.002 from here on; the state was saved with 0.04"
    whole = walk(*made(words, new), TOTAL)
    assert walk(resumed, schedule, TOTAL - DONE) == [pytest.approx(rates) for rates in whole[DONE:]]


def test_adafactor_keeps_the_rate_that_it_has_found() -> None:
    words = "--optimizer_type Adafactor"
    before, schedule_before = made(words, 0.01)
    walk(before, schedule_before, DONE)
    resumed, schedule = made(words, 0.5)
    rates = resumed_rates.of_run(resumed, schedule)
    resumed.load_state_dict(before.state_dict())
    schedule.load_state_dict(schedule_before.state_dict())
    assert resumed_rates.use(rates, schedule) is None
    found = [[group["lr"] for group in optimizer.param_groups] for optimizer in (before, resumed)]
    assert found[0] == found[1]


def edited(state: Path, folder: Path, factor: float) -> Path:
    """The state as if the whole run had used another rate. The moments do not depend on the rate."""
    shutil.copytree(state, folder)
    optimizer = torch.load(folder / "optimizer.bin")
    for group in optimizer["param_groups"]:
        group["lr"], group["initial_lr"] = group["lr"] * factor, group["initial_lr"] * factor
    torch.save(optimizer, folder / "optimizer.bin")
    scheduler = torch.load(folder / "scheduler.bin")
    scheduler["base_lrs"] = [rate * factor for rate in scheduler["base_lrs"]]
    torch.save(scheduler, folder / "scheduler.bin")
    return folder


@pytest.mark.parametrize("optimizer", ["AdamW", "Prodigy"])
def test_a_resumed_training_uses_the_new_rate_and_its_lora_says_so(
    optimizer: str, settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With Prodigy the rate is a factor of the rate that Prodigy finds, which the state keeps."""
    schedule = settings.plus(f"--optimizer_type {optimizer} --lr_scheduler cosine --learning_rate 0.5 --seed 7")
    assert run(schedule, stop_after=4).error is None
    state = settings.output_dir / "lora-step00000004-state"
    unchanged = run(schedule.plus(f"--resume {state}", output="unchanged"))
    assert (unchanged.error, "the learning rate is" in capfd.readouterr().out) == (None, False)

    lower = schedule.plus("--learning_rate 0.0625")
    assert run(lower.plus(f"--resume {state}", output="lower")).error is None
    assert "the learning rate is 0.0625 from here on; the state was saved with 0.5" in capfd.readouterr().out
    told = lower.plus(f"--resume {edited(state, tmp_path / 'edited', 0.0625 / 0.5)}", output="edited")
    assert run(told).error is None
    assert "the learning rate is" not in capfd.readouterr().out
    loras = {name: tmp_path / name / "lora.safetensors" for name in ("unchanged", "lower", "edited")}
    assert_same_lora(loras["lower"], loras["edited"])
    with pytest.raises(AssertionError):
        assert_same_lora(loras["lower"], loras["unchanged"])
    with safe_open(loras["lower"], framework="pt") as file:
        assert file.metadata()["ss_learning_rate"] == "0.0625"
