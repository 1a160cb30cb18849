# SPDX-License-Identifier: Apache-2.0
"""States: folders with sd-scripts' files from which a run goes on exactly. They are whole or not there (`atomic`).

`current_step` counts from the very first run (sd-scripts restarts it at each resume and then repeats epochs on the
second one, trainers.md 1.5). All random choices are functions of (seed, position), so the LoRA, the optimizer, the
schedule and the counters are the whole state; random_states_0.pkl is written for sd-scripts and never read here.
Nothing is unpickled: tensors are read with `weights_only`.
"""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from library import atomic, debug_hang, safetensors_file
from library.errors import TrainerError
from library.lora import LoRANetwork

FORMAT = "fluxgym-1"
PROGRESS, WEIGHTS, OPTIMIZER, SCHEDULER = "train_state.json", "model.safetensors", "optimizer.bin", "scheduler.bin"
# What an optimizer keeps for each number of a parameter.
FULL_SIZE = ("exp_avg", "exp_avg_sq", "momentum_buffer", "z")
RANDOM_STATES = "random_states_0.pkl"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is. `step` steps are done; `epoch` (from 1) is the one that the last of them belongs to."""

    step: int
    epoch: int
    total_steps: int
    steps_per_epoch: int
    seed: int


def save(
    path: Path, *, network: LoRANetwork, optimizer: Optimizer, scheduler: LRScheduler, progress: Progress
) -> None:
    """Writes a state. Raises TrainerError where the disk does not take it; what was saved before is kept."""

    def fill(folder: Path) -> None:
        (folder / PROGRESS).write_text(json.dumps(_to_json(progress)), encoding="utf-8")
        safetensors_file.write(folder / WEIGHTS, network.kohya_tensors(), {"format": "pt"})
        debug_hang.here("saving")
        torch.save(optimizer.state_dict(), folder / OPTIMIZER)
        torch.save(scheduler.state_dict(), folder / SCHEDULER)
        torch.save(_random_states(), folder / RANDOM_STATES)

    try:
        atomic.write_directory(path, fill)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save tells a full disk by RuntimeError
        raise TrainerError(f"the state {path} could not be saved: {error}; earlier states are whole") from error


def _to_json(progress: Progress) -> dict[str, object]:
    return {
        "current_epoch": progress.epoch,
        "current_step": progress.step,
        "format": FORMAT,
        "total_steps": progress.total_steps,
        "steps_per_epoch": progress.steps_per_epoch,
        "seed": progress.seed,
    }


def _random_states() -> dict[str, object]:
    return {
        "step": 0,
        "random_state": random.getstate(),
        "numpy_random_seed": numpy.random.get_state(),
        "torch_manual_seed": torch.get_rng_state(),
    }


def find(path: Path) -> Path:
    """The folder to read, which is `path` or the `.old` of a replacement that was cut short.

    Raises TrainerError where neither is there or a file is missing.
    """
    folder = atomic.existing_directory(path)
    if folder is None:
        raise TrainerError(f"--resume: there is no state folder {path}")
    for name in (PROGRESS, WEIGHTS, OPTIMIZER, SCHEDULER):
        if not (folder / name).is_file():
            raise TrainerError(f"--resume: {folder} is not a whole state: {name} is missing; take another state")
    return folder


def read_progress(folder: Path) -> Progress:
    """The counters of a state. Raises TrainerError where they are damaged or another trainer's."""
    try:
        found = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        if found.get("format") != FORMAT:
            raise TrainerError(
                f"--resume: {folder} was not written by this trainer ({PROGRESS} has no format {FORMAT}), "
                "and states of sd-scripts are not taken yet"
            )
        return Progress(
            step=int(found["current_step"]),
            epoch=int(found["current_epoch"]),
            total_steps=int(found["total_steps"]),
            steps_per_epoch=int(found["steps_per_epoch"]),
            seed=int(found["seed"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainerError(f"--resume: {folder / PROGRESS} is damaged; take another state") from error


def load(folder: Path, *, network: LoRANetwork, optimizer: Optimizer, scheduler: LRScheduler) -> None:
    """Takes over weights, optimizer and schedule. Raises TrainerError where one is damaged or does not fit."""
    try:
        weights = load_file(folder / WEIGHTS)
        optimizer_state = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
        scheduler_state = torch.load(folder / SCHEDULER, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise TrainerError(f"--resume: a file in {folder} is damaged; take another state") from error
    network.load_kohya(weights, f"--resume: {folder}")
    _check_optimizer(optimizer, optimizer_state, folder)
    optimizer.load_state_dict(optimizer_state)
    scheduler.load_state_dict(scheduler_state)


def _check_optimizer(optimizer: Optimizer, state: Mapping[str, Any], folder: Path) -> None:
    """torch checks the groups' lengths only; a moment of another shape would break the first step."""
    misfit = TrainerError(f"--resume: {folder / OPTIMIZER} does not fit this run's optimizer; use its settings")
    own = optimizer.state_dict()
    try:
        lengths = [len(group["params"]) for group in state["param_groups"]]
        kept = {index: value.items() for index, value in state["state"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise misfit from error
    if lengths != [len(group["params"]) for group in own["param_groups"]]:
        raise misfit
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in kept.items():
        if any(key in FULL_SIZE and value.shape != parameters[index].shape for key, value in values):
            raise misfit
