# SPDX-License-Identifier: Apache-2.0
"""A resumed run equals the undisturbed run: every tensor of the final LoRA is the same, bit for bit."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.sd_scripts.in_process import run
from tests.sd_scripts.outcomes import STEPS, STEPS_PER_EPOCH, assert_same_lora, assert_trained
from tests.sd_scripts.running import Outcome, Settings, running, train


def test_promise_5_a_stopped_run_continues_bit_for_bit(long_settings: Settings, undisturbed: Outcome) -> None:
    """SIGTERM to the whole group in the middle of an epoch: exit status 143, a state, nothing lost or repeated."""
    stopped = long_settings.with_samples().plus("--cache_latents_to_disk --cache_text_encoder_outputs_to_disk")
    with running(stopped) as trainer:
        trainer.wait_for(lambda line: line.get("step", 0) > STEPS_PER_EPOCH)
        trainer.signal_group(signal.SIGTERM)
        outcome = trainer.finish()
    assert outcome.status == 143, outcome.stderr
    (state,) = outcome.output_dir.glob("lora-step*-state")
    progress = json.loads((state / "train_state.json").read_text())
    assert progress["current_step"] == int(state.name[9:17]) < STEPS
    assert not outcome.lora.exists()

    resumed = train(stopped.plus(f"--resume {state}"))
    steps = [line["step"] for line in resumed.steps()]
    assert steps[0] == progress["current_step"] + 1
    assert steps[-1] == STEPS
    assert_same_lora(undisturbed.lora, resumed.lora)
    assert_trained(resumed.lora)


def test_promise_5_a_killed_run_continues_from_its_last_state(long_settings: Settings, undisturbed: Outcome) -> None:
    with running(long_settings) as trainer:
        trainer.wait_for(lambda line: line.get("step", 0) > STEPS_PER_EPOCH)
        trainer.signal_group(signal.SIGKILL)
        outcome = trainer.finish()
    assert outcome.status == -signal.SIGKILL
    resumed = train(long_settings.plus(f"--resume {outcome.output_dir / 'lora-000001-state'} --initial_epoch 2"))
    assert "is ignored" not in resumed.stderr
    assert_same_lora(undisturbed.lora, resumed.lora)


def test_a_finished_state_only_writes_the_final_lora(long_settings: Settings, undisturbed: Outcome) -> None:
    """A run that is killed between its last state and its final file must still get that file."""
    resumed = train(long_settings.plus(f"--resume {undisturbed.output_dir / 'lora-state'}"))
    assert [line for line in resumed.lines if line["phase"] == "training"] == []
    assert_same_lora(undisturbed.lora, resumed.lora)


def test_cold_warm_and_half_warm_caches_on_disk_give_the_same(long_settings: Settings, undisturbed: Outcome) -> None:
    """`undisturbed` keeps its caches in memory, and is the fourth case."""
    on_disk = long_settings.plus("--cache_latents_to_disk --cache_text_encoder_outputs_to_disk")
    cold = train(on_disk)
    assert "caching" in cold.phases()
    assert_same_lora(undisturbed.lora, cold.lora)
    made = {path: path.stat().st_mtime_ns for path in long_settings.pictures.glob("*.npz")}
    assert len(made) == 6

    (long_settings.pictures / "1_flux_te.npz").unlink()
    torn = long_settings.pictures / "2_0080x0064_flux.npz"
    torn.write_bytes(torn.read_bytes()[:-40])
    half_warm = train(dataclass_output(on_disk, "half"))
    assert next(line["total"] for line in half_warm.lines if line["phase"] == "caching") == 2
    assert_same_lora(undisturbed.lora, half_warm.lora)
    remade = {path for path in made if path.stat().st_mtime_ns != made[path]}
    assert remade == {long_settings.pictures / "1_flux_te.npz", torn}


def dataclass_output(settings: Settings, name: str) -> Settings:
    """The same training with another output folder."""
    return settings.plus("", output=name)


@pytest.mark.parametrize("damage", ["model.safetensors", "optimizer.bin", "scheduler.bin", "train_state.json"])
def test_a_state_with_a_torn_file_is_refused(
    damage: str, long_settings: Settings, undisturbed: Outcome, tmp_path: Path
) -> None:
    state = tmp_path / "torn-state"
    shutil.copytree(undisturbed.output_dir / "lora-000001-state", state)
    (state / damage).write_bytes((state / damage).read_bytes()[:20])
    outcome = run(long_settings.plus(f"--resume {state}"))
    assert outcome.error is not None
    assert "use another state" in outcome.error
    assert not (long_settings.output_dir / "lora.safetensors").exists()
