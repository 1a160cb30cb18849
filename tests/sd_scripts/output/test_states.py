# SPDX-License-Identifier: Apache-2.0
"""What a run resumes from: its own states, those of sd-scripts, and the recorded choices of how to compute."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from library.errors import TrainerError
from library.flux.config import FluxConfig
from library.flux.model import Flux
from library.lora.lora import find_linears
from library.memory import choices
from library.memory.choices import Choices
from library.options import trained_layers
from library.output import states, upstream_states
from tests.sd_scripts.in_process import run
from tests.sd_scripts.outcomes import STEPS, STEPS_PER_EPOCH, assert_same_lora
from tests.sd_scripts.running import Outcome, Settings

# The order of the moments in the optimizer.bin of a real run of sd-scripts (48d368f), with one block of each kind.
# Each lora_up correlates only with the moment at its own place.
UPSTREAM_ORDER = (
    *("img_mod_lin", "img_attn_qkv", "img_attn_proj", "img_mlp_0", "img_mlp_2"),
    *("txt_mod_lin", "txt_attn_qkv", "txt_attn_proj", "txt_mlp_0", "txt_mlp_2"),
    *("linear1", "linear2", "modulation_lin"),
)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def as_sd_scripts_writes_it(state: Path, folder: Path, *, epoch: int, step: int) -> Path:
    """Rewrites a state to what sd-scripts was recorded to write: AdamW without `fused`, a schedule with one empty
    entry per group, two counters, and random states that nothing may unpickle."""
    shutil.copytree(state, folder)
    (folder / "train_state.json").write_text(json.dumps({"current_epoch": epoch, "current_step": step}))
    optimizer = torch.load(folder / "optimizer.bin", weights_only=True)
    for group in optimizer["param_groups"]:
        group["fused"] = None
    torch.save(optimizer, folder / "optimizer.bin")
    schedule = torch.load(folder / "scheduler.bin", weights_only=True)
    assert schedule["lr_lambdas"] == [None] * len(optimizer["param_groups"])
    (folder / "random_states_0.pkl").write_bytes(pickle.dumps(Trap(folder.parent / "unpickled")))
    return folder


@pytest.mark.parametrize(
    ("name", "told_step", "step", "warning"),
    [
        ("lora-000001-state", 60, 60, None),
        # The counter begins again at a resume and says 3; the epoch in the name is right.
        ("lora-000002-state", 3, 120, None),
        ("lora-000002-state.old", 3, 120, None),
        ("lora-state", 60, 60, "at step 60, the value of its counter; sd-scripts restarts that counter"),
        ("lora-step00000060-state", 60, 60, "is assumed to be at step 60, the value of its counter; sd-scripts"),
        ("lora-state", 55, 55, "its learning rate's schedule has made 60 steps"),
        ("lora-000003-state", 60, 180, "an epoch has 60 steps here, but its learning rate's schedule has made 60"),
    ],
)
def test_a_state_of_sd_scripts_continues_at_its_step(
    name: str, told_step: int, step: int, warning: str | None
) -> None:
    assert upstream_states.step_of(name, told_step=told_step, steps_per_epoch=60) == step
    scheduled = 60 if warning else step
    doubts = upstream_states.doubts(name, step=step, steps_per_epoch=60, scheduled=scheduled)
    assert (doubts or "").count(warning or "-") == (1 if warning else 0)


@pytest.mark.parametrize(
    ("name", "warns"), [("lora-000001-state", False), ("lora-state", True), ("lora-step00000060-state", True)]
)
def test_a_run_of_sd_scripts_continues_with_the_same_moments(
    name: str,
    warns: bool,
    long_settings: Settings,
    undisturbed: Outcome,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    state = as_sd_scripts_writes_it(
        undisturbed.output_dir / "lora-000001-state", tmp_path / name, epoch=1, step=STEPS_PER_EPOCH
    )
    outcome = run(long_settings.plus(f"--resume {state}"))
    assert (outcome.error, outcome.status) == (None, None)
    assert outcome.steps == list(range(STEPS_PER_EPOCH + 1, STEPS + 1))
    assert_same_lora(undisturbed.lora, long_settings.output_dir / "lora.safetensors")
    assert not (tmp_path / "unpickled").exists()
    assert ("restarts that counter" in capfd.readouterr().err) == warns


def test_the_moments_are_in_the_order_of_sd_scripts() -> None:
    config = FluxConfig(
        packed_channels=64,
        vector_width=32,
        text_width=32,
        hidden=64,
        mlp_hidden=128,
        head_width=32,
        double_blocks=1,
        single_blocks=1,
        guidance=True,
    )
    with torch.device("meta"):
        model = Flux(config)
    found = find_linears(model, "x", trained_layers.in_blocks)
    assert [name.rpartition("blocks_0_")[2] for name, _ in found] == list(UPSTREAM_ORDER)


def wrong_shape(state: dict[str, Any]) -> None:
    state["state"][0]["exp_avg"] = state["state"][0]["exp_avg"].T.contiguous()


def too_many(state: dict[str, Any]) -> None:
    state["state"][len(state["state"])] = state["state"][0]


def another_optimizer(state: dict[str, Any]) -> None:
    for group in state["param_groups"]:
        del group["amsgrad"]


def one_group(state: dict[str, Any]) -> None:
    state["param_groups"].pop()


def no_moment(state: dict[str, Any]) -> None:
    state["state"][0]["exp_avg"] = "x"


def no_step(state: dict[str, Any]) -> None:
    del state["state"][0]["step"]


def many_steps(state: dict[str, Any]) -> None:
    state["state"][0]["step"] = torch.zeros(3)


OPTIMIZER_CHANGES = [wrong_shape, too_many, another_optimizer, one_group, no_moment, no_step, many_steps]


@pytest.mark.parametrize("change", OPTIMIZER_CHANGES)
def test_an_optimizer_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Any]], None], long_settings: Settings, undisturbed: Outcome, tmp_path: Path
) -> None:
    folder = tmp_path / "lora-000001-state"
    shutil.copytree(undisturbed.output_dir / "lora-000001-state", folder)
    state = torch.load(folder / "optimizer.bin", weights_only=True)
    change(state)
    torch.save(state, folder / "optimizer.bin")
    outcome = run(long_settings.plus(f"--resume {folder}"))
    assert outcome.error is not None
    assert "optimizer.bin does not fit this run's optimizer" in outcome.error
    assert not long_settings.output_dir.exists()


def too_few_rates(state: dict[str, Any]) -> None:
    state["base_lrs"] = []


def no_steps(state: dict[str, Any]) -> None:
    del state["last_epoch"]


@pytest.mark.parametrize("change", [too_few_rates, no_steps])
def test_a_schedule_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Any]], None], long_settings: Settings, undisturbed: Outcome, tmp_path: Path
) -> None:
    folder = tmp_path / "lora-000001-state"
    shutil.copytree(undisturbed.output_dir / "lora-000001-state", folder)
    state = torch.load(folder / "scheduler.bin", weights_only=True)
    change(state)
    torch.save(state, folder / "scheduler.bin")
    outcome = run(long_settings.plus(f"--resume {folder}"))
    assert outcome.error is not None
    assert "scheduler.bin does not fit this run's schedule" in outcome.error


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "scheduler.bin"])
def test_a_torn_file_is_named(name: str, long_settings: Settings, undisturbed: Outcome, tmp_path: Path) -> None:
    folder = tmp_path / "lora-000001-state"
    shutil.copytree(undisturbed.output_dir / "lora-000001-state", folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:-50])
    outcome = run(long_settings.plus(f"--resume {folder}"))
    assert outcome.error == f"--resume: {folder / name} is damaged; use another state"


OWN = {
    "current_epoch": 1,
    "current_step": 60,
    "format": "fluxgym-2",
    "total_steps": 180,
    "steps_per_epoch": 60,
    "seed": 42,
    "choices": {},
    "processes": 1,
}


@pytest.mark.parametrize(
    ("train_state", "sentence"),
    [
        ({"current_epoch": 1, "current_step": -1}, "current_step is not a whole number of at least 0"),
        (OWN | {"format": "fluxgym-9"}, "but this version reads fluxgym-2"),
        ([], "it is not a JSON object"),
        (OWN | {"seed": -1}, "seed is not a whole number of at least 0"),
        (OWN | {"seed": 2**64}, "seed is not a whole number of at least 0"),
        (OWN | {"seed": None}, "seed is not a whole number of at least 0"),
        (OWN | {"processes": 0}, "processes is not a whole number of at least 1"),
        (OWN | {"current_step": 60.5}, "current_step is not a whole number of at least 0"),
        (OWN | {"current_step": True}, "current_step is not a whole number of at least 0"),
        (OWN | {"current_step": 181}, "total_steps is not a whole number of at least 181"),
        (OWN | {"current_epoch": 0}, "current_epoch is not a whole number of at least 1"),
        (OWN | {"steps_per_epoch": 0}, "steps_per_epoch is not a whole number of at least 1"),
        (OWN | {"choices": []}, "choices is not a JSON object"),
    ],
)
def test_invalid_counters_are_refused(train_state: object, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "train_state.json").write_text(json.dumps(train_state))
    with pytest.raises(TrainerError, match=re.escape(sentence)) as refused:
        states.read_progress(tmp_path, steps_per_epoch=60)
    assert "\n" not in str(refused.value)


def test_a_state_records_its_counters(tmp_path: Path) -> None:
    (tmp_path / "train_state.json").write_text(json.dumps(OWN))
    assert states.read_progress(tmp_path, steps_per_epoch=60).step == 60
    # As it was written before several processes were supported.
    (tmp_path / "train_state.json").write_text(json.dumps({k: v for k, v in OWN.items() if k != "processes"}))
    assert states.read_progress(tmp_path, steps_per_epoch=60).processes == 1


def test_extra_epochs_train_what_a_longer_run_would_have_trained(
    long_settings: Settings, undisturbed: Outcome, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The order, noise and levels of a step do not depend on how many steps follow."""
    shorter = run(long_settings.plus("--max_train_epochs 1"))
    assert (shorter.error, shorter.status) == (None, None)
    outcome = run(long_settings.plus(f"--resume {long_settings.output_dir / 'lora-state'}", output="longer"))
    assert outcome.steps == list(range(STEPS_PER_EPOCH + 1, STEPS + 1))
    assert "from here on, the learning rate follows the schedule of a run of 180 steps" in capfd.readouterr().err
    assert_same_lora(undisturbed.lora, tmp_path / "longer" / "lora.safetensors")


def test_a_different_number_of_steps_has_the_rates_of_its_own_plan(settings: Settings) -> None:
    """A cosine's rate is 0 at its planned end, but not after more steps were asked for: the next step trains."""
    cosine = settings.plus("--lr_scheduler cosine")
    assert run(cosine.plus("--max_train_epochs 1")).error is None
    at_end = settings.output_dir / "lora-state"
    outcome = run(cosine.plus(f"--resume {at_end}"), stop_after=7)
    assert (outcome.error, outcome.steps) == (None, [7])
    before, after = (
        load_file(state / "model.safetensors") for state in (at_end, settings.output_dir / "lora-step00000007-state")
    )
    assert all(not torch.equal(before[key], after[key]) for key in before if key.endswith("lora_up.weight"))


BLOCKS = 57
SAVED = {
    "attention": "sdpa",
    "mixed_precision": "bf16",
    "base": "fp8",
    "checkpointed_blocks": BLOCKS,
    "blocks_to_swap": 18,
    "compile": "inductor:max-autotune-no-cudagraphs",
    "deterministic": False,
}
ASKED = {"mixed_precision": "bf16"}


@pytest.mark.parametrize(
    ("wanted", "saved", "replan", "settled"),
    [
        ({"mixed_precision": "no"}, None, False, Choices()),
        (ASKED | {"checkpointed_blocks": 3}, None, False, Choices(mixed_precision="bf16", checkpointed_blocks=3)),
        # A switch that is not given asks for nothing, so the state's choice stays.
        (ASKED, SAVED, False, Choices(**SAVED)),
        ({"mixed_precision": "no"}, SAVED, False, "mixed_precision = bf16, but this run asks for no"),
        ({"mixed_precision": "no"}, SAVED, True, Choices()),
        (ASKED | {"deterministic": True}, SAVED, False, "deterministic = off, but this run asks for on"),
        (
            ASKED | {"checkpointed_blocks": BLOCKS},
            {**SAVED, "checkpointed_blocks": 0},
            False,
            "checkpointed_blocks = 0, but this run asks for 57",
        ),
        (
            ASKED,
            {**SAVED, "attention": "of another machine"},
            False,
            "attention = of another machine, which this trainer does not support",
        ),
        (ASKED, {"sparsity": 2}, False, "sparsity = 2, which this trainer does not support"),
        (ASKED, {"checkpointed_blocks": BLOCKS + 1}, False, "checkpointed_blocks = 58, which this trainer"),
        (ASKED, {"blocks_to_swap": "many"}, False, "blocks_to_swap = many, which this trainer"),
        # The type is wrong, although Python takes 0 for False and True for 1.
        (ASKED, {"deterministic": 0}, False, "deterministic = 0, which this trainer"),
        (ASKED, {"checkpointed_blocks": True}, False, "checkpointed_blocks = on, which this trainer"),
        # A state that records less, such as an older one: the other choices were at their defaults.
        (ASKED, {}, False, Choices(mixed_precision="bf16")),
        # Older states have a switch that checkpoints all blocks.
        (ASKED, {"gradient_checkpointing": False}, False, Choices(mixed_precision="bf16")),
        (
            ASKED | {"checkpointed_blocks": BLOCKS},
            {"gradient_checkpointing": True},
            False,
            Choices(mixed_precision="bf16", checkpointed_blocks=BLOCKS),
        ),
        (
            ASKED | {"checkpointed_blocks": BLOCKS},
            {"gradient_checkpointing": False},
            False,
            "checkpointed_blocks = 0, but this run asks for 57",
        ),
    ],
)
def test_the_choices_of_the_start_are_used_again(
    wanted: dict[str, Any], saved: dict[str, Any] | None, replan: bool, settled: Choices | str
) -> None:
    if isinstance(settled, Choices):
        assert Choices(**choices.settle(wanted, saved, replan=replan, blocks=BLOCKS)) == settled
    else:
        with pytest.raises(TrainerError) as refused:
            choices.settle(wanted, saved, replan=replan, blocks=BLOCKS)
        assert settled in str(refused.value)


def test_a_choice_that_a_state_does_not_record_is_not_made_again() -> None:
    assert choices.settle(ASKED, {}, replan=False, blocks=BLOCKS)["blocks_to_swap"] == 0
    assert "blocks_to_swap" not in choices.settle(ASKED, None, replan=False, blocks=BLOCKS)


def test_a_different_precision_requires_a_new_choice(long_settings: Settings, undisturbed: Outcome) -> None:
    other = long_settings.plus(f"--resume {undisturbed.output_dir / 'lora-000002-state'} --mixed_precision bf16")
    refused = run(other)
    assert refused.error is not None
    assert "add --replan" in refused.error
    replanned = run(other.plus("--replan"))
    assert (replanned.error, replanned.status) == (None, None)
    assert replanned.steps == list(range(2 * STEPS_PER_EPOCH + 1, STEPS + 1))
    saved = json.loads((long_settings.output_dir / "lora-state" / "train_state.json").read_text())
    assert saved["choices"]["mixed_precision"] == "bf16"


def test_an_outdated_state_is_deleted_even_under_its_old_name(settings: Settings) -> None:
    """A state whose replacement was cut short is `X-state.old` until it is read or removed."""
    keep_one = settings.plus("--save_last_n_epochs 1 --save_last_n_epochs_state 1")
    assert run(keep_one.plus("--max_train_epochs 1")).error is None
    first = settings.output_dir / "lora-000001-state"
    (settings.output_dir / "lora-state").rename(first.with_name("lora-000001-state.old"))
    outcome = run(keep_one.plus(f"--max_train_epochs 3 --resume {first}"))
    assert (outcome.error, outcome.steps[0]) == (None, 7)
    left = sorted(path.name for path in settings.output_dir.iterdir() if "-state" in path.name)
    assert left == ["lora-000002-state", "lora-state"]


def test_a_deterministic_run_stays_deterministic_without_the_flag(settings: Settings) -> None:
    """The weights are those of any other run, since the flag changes nothing on a CPU."""
    plain = run(settings.plus("", output="plain"))
    assert (plain.error, torch.are_deterministic_algorithms_enabled()) == (None, False)
    first = run(settings.plus("--deterministic"), stop_after=7)
    assert (first.error, torch.are_deterministic_algorithms_enabled()) == (None, True)
    torch.use_deterministic_algorithms(False)
    resumed = run(settings.plus(f"--resume {settings.output_dir / 'lora-step00000007-state'}"))
    assert (resumed.error, torch.are_deterministic_algorithms_enabled()) == (None, True)
    torch.use_deterministic_algorithms(False)
    assert_same_lora(settings.folder / "plain" / "lora.safetensors", settings.output_dir / "lora.safetensors")
