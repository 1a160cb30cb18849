# SPDX-License-Identifier: Apache-2.0
"""States: folders with sd-scripts' files from which a run goes on exactly. They are whole or not there (`atomic`).

`current_step` counts from the very first run (sd-scripts restarts it at each resume and then repeats epochs on the
second one, trainers.md 1.5). All random choices are functions of (seed, position), so the LoRA, the optimizer, the
schedule and the counters are the whole state; random_states_0.pkl is written for sd-scripts and never read here.
Nothing is unpickled: tensors are read with `weights_only`. States by sd-scripts are taken too (`upstream_states`).
"""

from __future__ import annotations

import json
import os
import pickle
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from library import atomic, debug_hang, safetensors_file, upstream_states
from library.ema import MovingAverage
from library.errors import TrainerError
from library.lora import LoRANetwork

# 1 had the optimizer's moments in another order.
FORMAT = "fluxgym-2"
PROGRESS, WEIGHTS, OPTIMIZER, SCHEDULER = "train_state.json", "model.safetensors", "optimizer.bin", "scheduler.bin"
# Ours alone, and only with --ema_decay; sd-scripts does not look at it.
AVERAGE = "ema.safetensors"
RANDOM_STATES = "random_states_0.pkl"
# That of --seed; no counter comes near it.
LARGEST_COUNTER = 2**63 - 1
# How torch computes a step is this machine's matter, the other settings of a group are the state's.
IMPLEMENTATION = ("fused", "foreach")
# What torch adds to a group that an older torch saved.
ADDED_BY_TORCH = {"maximize", "capturable", "differentiable", "decoupled_weight_decay", *IMPLEMENTATION}
# Optimizers' tensors that have their parameter's shape; Adafactor's two are of its rows and of its columns.
SAME_SHAPE = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "z", "state1", "state2"}
ROWS, COLUMNS = "exp_avg_sq_row", "exp_avg_sq_col"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is. `step` steps are done; `epoch` (from 1) is the one that the last of them belongs to.

    `total_steps`, `seed`, `choices` (of `choices.Choices`) and `processes` (which trained together) are None where
    sd-scripts wrote the state.
    """

    step: int
    epoch: int
    total_steps: int | None
    steps_per_epoch: int
    seed: int | None
    choices: Mapping[str, object] | None
    processes: int | None

    @property
    def foreign(self) -> bool:
        """Whether sd-scripts wrote it."""
        return self.seed is None


def save(
    path: Path,
    *,
    network: LoRANetwork,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    average: MovingAverage | None,
    progress: Progress,
) -> None:
    """Writes a state. Raises TrainerError where the disk does not take it; what was saved before is kept."""

    def fill(folder: Path) -> None:
        (folder / PROGRESS).write_text(json.dumps(_to_json(progress)), encoding="utf-8")
        safetensors_file.write(folder / WEIGHTS, network.kohya_tensors(), {"format": "pt"})
        if average is not None:
            with average.in_network():
                safetensors_file.write(folder / AVERAGE, network.kohya_tensors(), {"format": "pt"})
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
        "choices": dict(progress.choices or {}),
        "processes": progress.processes,
    }


def _random_states() -> dict[str, object]:
    return {
        "step": 0,
        "random_state": random.getstate(),
        "numpy_random_seed": numpy.random.get_state(),
        "torch_manual_seed": torch.get_rng_state(),
        # sd-scripts asks for these on a CPU too.
        "torch_cuda_manual_seed": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def find(path: Path) -> Path:
    """The folder to read, which is `path` or the `.old` of a replacement that was cut short.

    Raises TrainerError where neither is there or a file is missing.
    """
    path = Path(os.path.abspath(path))  # `.` too has its own name then, and its `.old`
    folder = atomic.existing_directory(path) if path.name else None
    if folder is None:
        raise TrainerError(f"--resume: there is no state folder {path}")
    for name in (PROGRESS, WEIGHTS, OPTIMIZER, SCHEDULER):
        if not (folder / name).is_file():
            raise TrainerError(f"--resume: {folder} is not a whole state: {name} is missing; take another state")
    return folder


def read_progress(folder: Path, *, steps_per_epoch: int) -> Progress:
    """The counters of a state; `steps_per_epoch` of this run tells where one of sd-scripts goes on.

    Raises TrainerError where they are damaged, or of another version's format.
    """
    try:
        found = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is not an object")
        if "format" not in found:
            told = (_whole(found, "current_epoch"), _whole(found, "current_step"))
            return _foreign(folder, *told, steps_per_epoch)
        if found["format"] != FORMAT:
            raise TrainerError(
                f"--resume: {folder} has the format {found['format']}, and this version reads {FORMAT}"
            )
        return _own(found)
    except (ValueError, RecursionError) as error:  # what json and UTF-8 raise are ValueErrors
        raise TrainerError(f"--resume: {folder / PROGRESS} is damaged ({error}); take another state") from error


def _own(found: Mapping[str, Any]) -> Progress:
    choices = found.get("choices", {})
    if not isinstance(choices, dict):
        raise ValueError("choices are not an object")
    step = _whole(found, "current_step")
    return Progress(
        step=step,
        epoch=_whole(found, "current_epoch", lowest=1),
        total_steps=_whole(found, "total_steps", lowest=max(1, step)),
        steps_per_epoch=_whole(found, "steps_per_epoch", lowest=1),
        seed=_whole(found, "seed"),
        choices=choices,
        processes=_whole({"processes": 1, **found}, "processes", lowest=1),
    )


def _whole(found: Mapping[str, Any], name: str, *, lowest: int = 0) -> int:
    """A counter. Raises ValueError where it is none."""
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= LARGEST_COUNTER:
        raise ValueError(f"{name} is not a whole number from {lowest}")
    return value


def _foreign(folder: Path, told_epoch: int, told_step: int, steps_per_epoch: int) -> Progress:
    step = upstream_states.step_of(folder.name, told_step=told_step, steps_per_epoch=steps_per_epoch)
    epoch = upstream_states.ended_epoch(folder.name) or told_epoch
    return Progress(
        step=step,
        epoch=epoch,
        total_steps=None,
        steps_per_epoch=steps_per_epoch,
        seed=None,
        choices=None,
        processes=None,
    )


def load(
    folder: Path,
    *,
    network: LoRANetwork,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    average: MovingAverage | None,
    progress: Progress,
) -> None:
    """Takes over weights, optimizer, schedule and average. Raises TrainerError where one is damaged or does not fit.

    A state without an average gives one that begins with its weights.
    """
    weights = _read(folder / WEIGHTS, load_file)
    averages = _read(folder / AVERAGE, load_file) if average is not None and (folder / AVERAGE).is_file() else None
    optimizer_state = _read(folder / OPTIMIZER, _load_dictionary)
    scheduler_state = _read(folder / SCHEDULER, _load_dictionary)
    network.load_kohya(weights, f"--resume: {folder}")
    if average is not None:
        average.restart()
        if averages is None:
            print(f"warning: {folder} has no {AVERAGE}: --ema_decay begins with its weights", file=sys.stderr)
        else:
            with average.in_network():
                network.load_kohya(averages, f"--resume: {folder / AVERAGE}")
    _load_optimizer(optimizer, optimizer_state, folder)
    _load_scheduler(scheduler, scheduler_state, folder)
    if progress.foreign:
        _warn_of_doubts(folder.name, progress, scheduler.last_epoch)


def _read(path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Raises TrainerError where the file is damaged."""
    try:
        return read(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise TrainerError(f"--resume: {path} is damaged; take another state") from error


def _load_dictionary(path: Path) -> dict[str, Any]:
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict):
        raise ValueError("not a dictionary")
    return found


def _load_optimizer(optimizer: Optimizer, state: dict[str, Any], folder: Path) -> None:
    """torch compares the lengths of groups only: another optimizer, or a moment of another shape, would break the
    first step or, worse, would not."""
    misfit = TrainerError(f"--resume: {folder / OPTIMIZER} does not fit this run's optimizer; use its settings")
    try:
        if not _fits_optimizer(optimizer, state):
            raise misfit
        _warn_of_rate(optimizer.param_groups, state["param_groups"])
        for own, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
            saved.update({name: own[name] for name in IMPLEMENTATION if name in own})
        optimizer.load_state_dict(state)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise misfit from error


def _fits_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> bool:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return _same_groups(optimizer.param_groups, state["param_groups"]) and all(
        _fits(name, value, tuple(parameters[index].shape))
        for index, values in state["state"].items()
        for name, value in values.items()
    )


def _warn_of_rate(own: list[dict[str, Any]], saved: list[dict[str, Any]]) -> None:
    """A rate that the command line changes has no effect, since the state's counts, as in sd-scripts."""
    key = "initial_lr"
    changed = [
        (mine[key], theirs[key])
        for mine, theirs in zip(own, saved, strict=True)
        if mine.get(key) is not None and theirs.get(key) is not None and mine[key] != theirs[key]
    ]
    if changed:
        asked, kept = changed[-1]
        print(
            f"warning: --resume: the learning rate {asked:g} is not used: the state goes on with its own, {kept:g}",
            file=sys.stderr,
        )


def _load_scheduler(scheduler: LRScheduler, state: dict[str, Any], folder: Path) -> None:
    try:
        if "last_epoch" in scheduler.state_dict() and not isinstance(state["last_epoch"], int):
            raise TypeError("last_epoch is not a number of steps")
        scheduler.load_state_dict(state)
        if type(scheduler) is LambdaLR:
            # The state's rate for the next step is that of its own plan; after another number of steps it is this
            # run's.
            curves = zip(scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            for group, rate, curve in curves:
                group["lr"] = rate * curve(scheduler.last_epoch)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        misfit = f"--resume: {folder / SCHEDULER} does not fit this run's schedule; use its settings"
        raise TrainerError(misfit) from error


def _warn_of_doubts(name: str, progress: Progress, scheduled: int) -> None:
    doubt = upstream_states.doubts(
        name, step=progress.step, steps_per_epoch=progress.steps_per_epoch, scheduled=scheduled
    )
    if doubt is not None:
        print(f"warning: --resume: {doubt}", file=sys.stderr)


def _same_groups(own: list[dict[str, Any]], saved: list[dict[str, Any]]) -> bool:
    """Whether both have as many groups, of as many parameters, and the state has all of this optimizer's settings.

    It may have more: Prodigy's groups grow with their first step.
    """
    if [len(group["params"]) for group in own] != [len(group["params"]) for group in saved]:
        return False
    return all(not mine.keys() - theirs.keys() - ADDED_BY_TORCH for mine, theirs in zip(own, saved, strict=True))


def _fits(name: str, value: object, parameter: tuple[int, ...]) -> bool:
    """Whether one of a parameter's values, under the optimizers' usual names, has the shape that it must have.

    A list of tensors is an optimizer's own form, as of ProdigyPlus, whose `exp_avg_sq` is rows and columns.
    """
    expected = {
        **dict.fromkeys(SAME_SHAPE, parameter),
        ROWS: parameter[:-1],
        COLUMNS: parameter[:-2] + parameter[-1:],
    }
    if isinstance(value, torch.Tensor):
        return tuple(value.shape) == expected.get(name, tuple(value.shape)) and (name != "step" or value.numel() == 1)
    return name not in expected or value is None or isinstance(value, list | tuple)
