# SPDX-License-Identifier: Apache-2.0
"""States: folders with sd-scripts' files, from which a run resumes exactly. Each is written completely or not at all.

`current_step` counts from the start of the training (sd-scripts restarts it at each resume, so its second resume
repeats epochs). All random choices are functions of (seed, position), so LoRA, optimizer, schedule and counters are
the complete state; random_states_0.pkl is written for sd-scripts and never read here. Nothing is unpickled: tensors
are read with `weights_only`. States by sd-scripts are accepted too (`upstream_states`).
"""

from __future__ import annotations

import json
import os
import pickle
import random
import zipfile
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

from library import atomic, debug_hang
from library.errors import Damaged, Misfit, MissingFile, TrainerError
from library.files import safetensors_file
from library.findings import warn
from library.lora import fit as lora_fit
from library.lora.lora import LoRANetwork
from library.optim import resumed_rates
from library.optim.ema import MovingAverage
from library.output import upstream_states
from library.output.progress import Progress

# fluxgym-1 had the optimizer's moments in another order (docs/decisions/0051-states-of-the-trainer.md).
FORMAT = "fluxgym-2"
PROGRESS, WEIGHTS, OPTIMIZER, SCHEDULER = "train_state.json", "model.safetensors", "optimizer.bin", "scheduler.bin"
# Written only with --ema_decay; sd-scripts does not read it.
AVERAGE = "ema.safetensors"
RANDOM_STATES = "random_states_0.pkl"
# The largest --seed; no counter comes near it.
LARGEST_COUNTER = 2**63 - 1
# How torch computes a step depends on this machine; a group's other settings come from the state.
IMPLEMENTATION = ("fused", "foreach")
# Settings that a group saved by an older torch lacks, and that torch adds when it loads the group.
ADDED_BY_TORCH = {"maximize", "capturable", "differentiable", "decoupled_weight_decay", *IMPLEMENTATION}
# The most bytes of a pickle: so many, plus so many for each entry of the archive. No trainer writes a larger one, and
# reading one could take gigabytes.
LARGEST_PICKLE, LARGEST_PICKLE_OF_TENSOR = 1_000_000, 2_000
LARGEST_HEADER = 10_000_000
"""The most bytes of a safetensors header: that of the largest LoRA has 150 bytes for each of 1,500 tensors."""
# Tensors of optimizers that have the shape of their parameter. (ROWS and COLUMNS are Adafactor's, one number per row
# and per column.)
SAME_SHAPE = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "z", "state1", "state2"}
# What the readers raise if a file's content is wrong.
DAMAGE = (
    *(SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError),
    *(RuntimeError, ValueError, LookupError, TypeError, AttributeError),
)
ROWS, COLUMNS = "exp_avg_sq_row", "exp_avg_sq_col"


def save(
    path: Path,
    *,
    network: LoRANetwork,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    average: MovingAverage | None,
    progress: Progress,
) -> None:
    """Writes a state. Raises TrainerError if it cannot be written; what was saved before is kept."""

    def fill(folder: Path) -> None:
        (folder / PROGRESS).write_text(json.dumps(_to_json(progress, optimizer)), encoding="utf-8")
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
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save raises RuntimeError if the disk is full
        raise TrainerError(f"the state {path} could not be saved: {error}; earlier states are intact") from error


def _to_json(progress: Progress, optimizer: Optimizer) -> dict[str, object]:
    return {
        "current_epoch": progress.epoch,
        "current_step": progress.step,
        "format": FORMAT,
        "total_steps": progress.total_steps,
        "steps_per_epoch": progress.steps_per_epoch,
        "seed": progress.seed,
        "choices": dict(progress.choices or {}),
        "processes": progress.processes,
        "optimizer": type(optimizer).__name__,
    }


def _random_states() -> dict[str, object]:
    return {
        "step": 0,
        "random_state": random.getstate(),
        "numpy_random_seed": numpy.random.get_state(),
        "torch_manual_seed": torch.get_rng_state(),
        # sd-scripts looks for these on a CPU too.
        "torch_cuda_manual_seed": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def find(path: Path) -> Path:
    """The folder to read, which is `path` or the `.old` of a replacement that was interrupted.

    Raises MissingFile if neither exists, and Damaged if a file is missing.
    """
    path = Path(os.path.abspath(path))  # so that `.` has a name too, and with it an `.old`
    folder = atomic.existing_directory(path) if path.name else None
    if folder is None:
        raise MissingFile(f"--resume: there is no state folder {path}", path)
    for name in (PROGRESS, WEIGHTS, OPTIMIZER, SCHEDULER):
        if not (folder / name).is_file():
            raise Damaged(f"--resume: {folder} is incomplete: {name} is missing; use another state")
    return folder


def read_progress(folder: Path, *, steps_per_epoch: int) -> Progress:
    """The counters of a state. `steps_per_epoch`: this run's, from which the step of an sd-scripts state is computed.

    Raises Damaged if they cannot be read, and Misfit for another version's format.
    """
    try:
        found = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
        if "format" not in found:
            told = (_whole(found, "current_epoch"), _whole(found, "current_step"))
            return _foreign(folder, *told, steps_per_epoch)
        if found["format"] != FORMAT:
            raise Misfit(f"--resume: {folder} has the format {found['format']}, but this version reads {FORMAT}")
        return _own(found)
    except (ValueError, RecursionError) as error:  # what json and UTF-8 raise are ValueErrors
        raise Damaged(f"--resume: {folder / PROGRESS} is damaged ({error}); use another state") from error


def _own(found: Mapping[str, Any]) -> Progress:
    choices = found.get("choices", {})
    if not isinstance(choices, dict):
        raise ValueError("choices is not a JSON object")
    step = _whole(found, "current_step")
    return Progress(
        step=step,
        epoch=_whole(found, "current_epoch", lowest=1),
        total_steps=_whole(found, "total_steps", lowest=max(1, step)),
        steps_per_epoch=_whole(found, "steps_per_epoch", lowest=1),
        seed=_whole(found, "seed"),
        choices=choices,
        processes=_whole({"processes": 1, **found}, "processes", lowest=1),
        optimizer=str(found["optimizer"]) if "optimizer" in found else None,
    )


def _whole(found: Mapping[str, Any], name: str, *, lowest: int = 0) -> int:
    """A counter. Raises ValueError if it is missing, is not a whole number or is below `lowest`."""
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= LARGEST_COUNTER:
        raise ValueError(f"{name} is not a whole number of at least {lowest}")
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
    """Loads weights, optimizer, schedule and average from a state. Raises Damaged or Misfit, as `read` and `fit` do.

    If the state has no average, the average starts from its weights.
    """
    saved = read(folder, average=average is not None)
    rates = resumed_rates.of_run(optimizer, scheduler)
    fit(saved, network=network, optimizer=optimizer, scheduler=scheduler, progress=progress)
    if (changed := resumed_rates.use(rates, scheduler)) is not None:
        print(changed, flush=True)
    network.load_kohya(saved.weights, f"--resume: {folder}")
    if average is not None:
        average.restart()
        if saved.averages is not None:
            with average.in_network():
                network.load_kohya(saved.averages, f"--resume: {folder / AVERAGE}")


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The contents of a state's files. Tensors stay mapped from the files."""

    folder: Path
    weights: dict[str, torch.Tensor]
    averages: dict[str, torch.Tensor] | None
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]


def read(folder: Path, *, average: bool) -> Saved:
    """Reads a state's files. `average`: whether the moving average is wanted too; a state without one gives a
    warning. Raises Damaged."""
    if average and not (folder / AVERAGE).is_file():
        warn(f"{folder} has no {AVERAGE}: the moving average of --ema_decay starts from its weights")
        average = False
    return Saved(
        folder=folder,
        weights=_read(folder / WEIGHTS, _load_weights),
        averages=_read(folder / AVERAGE, _load_weights) if average else None,
        optimizer=_read(folder / OPTIMIZER, _load_dictionary),
        scheduler=_read(folder / SCHEDULER, _load_dictionary),
    )


def fit(
    saved: Saved, *, network: LoRANetwork, optimizer: Optimizer, scheduler: LRScheduler, progress: Progress
) -> None:
    """Compares the weights with a network, which may have shapes without numbers, and loads the states of optimizer
    and schedule. Raises Misfit with every difference that was found."""
    folder = saved.folder
    different = network.differences(saved.weights)
    if progress.optimizer not in (None, type(optimizer).__name__):
        different.append(
            f"its optimizer is {progress.optimizer}, but this run's is {type(optimizer).__name__} (--optimizer_type)"
        )
    if different:
        raise Misfit(lora_fit.sentence(f"--resume: {folder}", different))
    if saved.averages is not None and (wrong := network.differences(saved.averages)):
        raise Misfit(lora_fit.sentence(f"--resume: {folder / AVERAGE}", wrong))
    _load_optimizer(optimizer, saved.optimizer, folder)
    _load_scheduler(scheduler, saved.scheduler, folder)
    if progress.foreign:
        _warn_of_doubts(folder.name, progress, scheduler.last_epoch)


def _read(path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Reads a file with `read`. Raises Damaged if that fails, or if it takes more memory than there is."""
    try:
        return read(path)
    except DAMAGE as error:
        raise Damaged(f"--resume: {path} is damaged; use another state") from error
    except MemoryError as error:
        raise Damaged(f"--resume: {path} takes more memory to read than is available; use another state") from error


def _load_weights(path: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > LARGEST_HEADER:
        raise ValueError("its header is too large")  # parsing takes many times its size, and could kill this process
    return load_file(path)


def _load_dictionary(path: Path) -> dict[str, Any]:
    mapped = zipfile.is_zipfile(path)
    if mapped:
        _check_size(path)
    found = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    if not isinstance(found, dict):
        raise ValueError("not a dictionary")
    return found


def _check_size(path: Path) -> None:
    """Raises ValueError for a file that torch would not write, and that could fill the memory: one with a huge pickle
    or with compressed entries."""
    with zipfile.ZipFile(path) as file:
        entries = file.infolist()
    most = LARGEST_PICKLE + LARGEST_PICKLE_OF_TENSOR * len(entries)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed")
    if any(entry.filename.endswith(".pkl") and entry.file_size > most for entry in entries):
        raise ValueError("its pickle is too large")


def _load_optimizer(optimizer: Optimizer, state: dict[str, Any], folder: Path) -> None:
    """Loads an optimizer's state. Raises Misfit if it does not fit: torch itself compares only the lengths of groups,
    so another optimizer's state, or a moment of another shape, would fail in the first step or, worse, would not."""
    misfit = Misfit(
        f"--resume: {folder / OPTIMIZER} does not fit this run's optimizer; use the settings it was made with"
    )
    try:
        if not _fits_optimizer(optimizer, state):
            raise misfit
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


def _load_scheduler(scheduler: LRScheduler, state: dict[str, Any], folder: Path) -> None:
    try:
        if "last_epoch" in scheduler.state_dict() and not isinstance(state["last_epoch"], int):
            raise TypeError("last_epoch is not a number of steps")
        scheduler.load_state_dict(state)
        if type(scheduler) is LambdaLR:
            # The rate in the state is that of its own plan, which may have another number of steps than this run's.
            curves = zip(scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            for group, rate, curve in curves:
                group["lr"] = rate * curve(scheduler.last_epoch)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        misfit = f"--resume: {folder / SCHEDULER} does not fit this run's schedule; use the settings it was made with"
        raise Misfit(misfit) from error


def _warn_of_doubts(name: str, progress: Progress, scheduled: int) -> None:
    doubt = upstream_states.doubts(
        name, step=progress.step, steps_per_epoch=progress.steps_per_epoch, scheduled=scheduled
    )
    if doubt is not None:
        warn(f"--resume: {doubt}")


def _same_groups(own: list[dict[str, Any]], saved: list[dict[str, Any]]) -> bool:
    """Whether both have the same numbers of groups and parameters, and the state has all settings of this optimizer.

    The state may have more: Prodigy's groups gain settings in their first step.
    """
    if [len(group["params"]) for group in own] != [len(group["params"]) for group in saved]:
        return False
    return all(not mine.keys() - theirs.keys() - ADDED_BY_TORCH for mine, theirs in zip(own, saved, strict=True))


def _fits(name: str, value: object, parameter: tuple[int, ...]) -> bool:
    """Whether one of the optimizer's values for a parameter has the shape that its name requires. `parameter`: the
    parameter's shape. Values with other names fit in any shape.

    Some optimizers keep a list of tensors, such as ProdigyPlus, whose `exp_avg_sq` has rows and columns.
    """
    expected = {
        **dict.fromkeys(SAME_SHAPE, parameter),
        ROWS: parameter[:-1],
        COLUMNS: parameter[:-2] + parameter[-1:],
    }
    if isinstance(value, torch.Tensor):
        return tuple(value.shape) == expected.get(name, tuple(value.shape)) and (name != "step" or value.numel() == 1)
    return name not in expected or value is None or isinstance(value, list | tuple)
