# SPDX-License-Identifier: Apache-2.0
"""Tests of LoRAs, states and caches by sd-scripts and by our trainer, each read by the other (issue 5).

A learning rate that rounds to 0 in fp32 leaves a loaded LoRA as it is, so the file that is saved shows bit for bit
what the trainer read. (With exactly 0 sd-scripts trains no layer at all, and fails.)
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.running import ROOT, TRAINER_PYTHON, tensors
from tests.harness.waiting import BUILD_SECONDS
from tests.interop.training import NAME, OUR_COMMAND, Training, Upstream

# 10 layers of the double block, 3 of the single one, 72 of CLIP-L; each has a down, an up and an alpha.
TRANSFORMER_LAYERS, LAYERS = 13, 85
FROZEN = "--learning_rate 1e-60 --max_train_epochs 1"
MOVED = Path(__file__).with_name("moved.py")
ROUNDING = 1e-5
"""The error of an output of about 1 in fp32."""


def matrices(path: Path) -> dict[str, bytes]:
    """Returns the down and up matrices. The alphas are left out, since their type may differ."""
    return {key: data for key, data in tensors(path).items() if not key.endswith(".alpha")}


def begin_with(training: Training, command: Sequence[str | Path], lora: Path, *, output: str) -> str:
    """Trains from a LoRA on pictures that have caches. Checks that the trainer read the LoRA and used the caches;
    returns the log."""
    before = training.caches()
    assert len(before) == 4  # latents and embeddings of two pictures
    out = training.run(command, f"{FROZEN} --network_weights {lora}", output=output)
    assert training.caches() == before
    assert len(matrices(lora)) == 2 * LAYERS
    assert matrices(out / f"{NAME}.safetensors") == matrices(lora)
    return training.log(output).read_text(errors="replace")


def test_sd_scripts_starts_from_our_lora_and_uses_our_caches(ours: Training, upstream: Upstream) -> None:
    lora = ours.folder / "out" / f"{NAME}.safetensors"
    log = begin_with(ours, upstream.command, lora, output="again-by-sd-scripts")
    assert f"load network weights from {lora}: <All keys matched successfully>" in log


def test_our_trainer_starts_from_its_lora_and_uses_its_caches(theirs: Training) -> None:
    lora = theirs.folder / "out" / f"{NAME}.safetensors"
    log = begin_with(theirs, OUR_COMMAND, lora, output="again-by-us")
    assert f"{LAYERS} of {LAYERS} modules start with the weights in {lora}" in log


def test_our_trainer_continues_from_its_state(theirs: Training) -> None:
    """The state has two steps, and two more follow. AdamW's own counter continues too."""
    state = theirs.folder / "out" / f"{NAME}-000001-state"
    out = theirs.run(OUR_COMMAND, f"--resume {state}", output="resumed-by-us")
    log = theirs.log("resumed-by-us").read_text(errors="replace")
    assert "epoch 2/2" in log
    assert "epoch 1/2" not in log
    told = json.loads((out / f"{NAME}-state" / "train_state.json").read_text())
    assert told["current_step"] == 4
    assert [optimizer_steps(one / "optimizer.bin") for one in (state, out / f"{NAME}-state")] == [2, 4]
    assert matrices(out / f"{NAME}.safetensors") != matrices(state / "model.safetensors")


def test_its_last_state_is_loaded_bit_for_bit(theirs: Training) -> None:
    """No step is left to train, so the LoRA is written with the weights of the state."""
    state = theirs.folder / "out" / f"{NAME}-state"
    out = theirs.run(OUR_COMMAND, f"--resume {state}", output="ended-by-us")
    assert matrices(out / f"{NAME}.safetensors") == matrices(state / "model.safetensors")


def test_sd_scripts_continues_from_our_state(ours: Training, upstream: Upstream) -> None:
    """It trains the second epoch with the weights, the moments and the schedule of the state after the first."""
    state = ours.folder / "out" / f"{NAME}-000001-state"
    out = ours.run(upstream.command, f"--resume {state}", output="resumed-by-sd-scripts")
    log = ours.log("resumed-by-sd-scripts").read_text(errors="replace")
    for what in ("model weights", "optimizer states", "scheduler states", "random states"):
        assert f"All {what} loaded successfully" in log
    assert "epoch 2/2" in log
    assert "epoch 1/2" not in log
    assert [optimizer_steps(one / "optimizer.bin") for one in (state, out / f"{NAME}-state")] == [2, 4]
    moved = asked([TRAINER_PYTHON, MOVED, state / "model.safetensors", out / f"{NAME}-state" / "model.safetensors"])
    # Two steps of AdamW at 1e-3. With other initial weights the difference would be ten times as large.
    assert 1e-4 < moved < 1e-2


def optimizer_steps(path: Path) -> int:
    """Returns AdamW's own count of its updates of the first parameter."""
    script = "import sys, torch; print(int(torch.load(sys.argv[1], weights_only=True)['state'][0]['step']))"
    return int(
        subprocess.run(
            [TRAINER_PYTHON, "-c", script, path], check=True, capture_output=True, timeout=BUILD_SECONDS
        ).stdout
    )


@pytest.mark.parametrize("by", ["ours", "theirs"])
def test_a_lora_has_the_same_effect_in_both(
    by: str, upstream: Upstream, model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    trained: Training = request.getfixturevalue(by)
    lora = trained.folder / "out" / f"{NAME}.safetensors"
    asker = Path(__file__).with_name("ask_lora.py")
    answers = tmp_path / "by-sd-scripts", tmp_path / "by-us"
    for python, modules, answer in (
        (upstream.python, upstream.path, answers[0]),
        (TRAINER_PYTHON, ROOT / "sd-scripts", answers[1]),
    ):
        told = asked([python, asker, modules, model / "flux1-dev.safetensors", lora, answer])
        assert told == {"modules": TRANSFORMER_LAYERS, "missing": [], "unexpected": []}
    found = asked([TRAINER_PYTHON, Path(__file__).with_name("compare.py"), *answers])
    assert found["effect"] > 100 * ROUNDING
    assert found["difference"] < ROUNDING


def asked(command: Sequence[str | Path]) -> Any:
    """Runs a program and returns the JSON in the last line that it prints."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])
