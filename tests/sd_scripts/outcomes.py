# SPDX-License-Identifier: Apache-2.0
"""What a training leaves behind: its LoRA, its states, and nothing half-made."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.sd_scripts.running import Outcome

STEPS, STEPS_PER_EPOCH = 180, 60


def assert_same_lora(left: Path, right: Path) -> None:
    a, b = load_file(left), load_file(right)
    assert a.keys() == b.keys()
    different = [key for key in a if not torch.equal(a[key], b[key])]
    assert different == []
    hashes = [safe_open(path, "pt").metadata()["sshs_model_hash"] for path in (left, right)]
    assert hashes[0] == hashes[1]


def assert_trained(path: Path) -> None:
    """Asserts that a LoRA learned something. Comparing two that learned nothing would prove nothing."""
    ups = [tensor for key, tensor in load_file(path).items() if key.endswith("lora_up.weight")]
    assert all(bool(up.any()) for up in ups)


def states_of(outcome: Outcome) -> dict[str, int]:
    """The step of each state, by the folder's name."""
    folders = outcome.output_dir.glob("*-state")
    return {path.name: json.loads((path / "train_state.json").read_text())["current_step"] for path in folders}


def assert_nothing_half(outcome: Outcome) -> None:
    assert [path.name for path in outcome.output_dir.rglob("*") if path.suffix in (".tmp", ".old")] == []


def choice_in(state: Path) -> str:
    return str(json.loads((state / "train_state.json").read_text())["choices"]["compile"])
