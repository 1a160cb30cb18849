# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of a job as they lie on the disk, each with what is wrong with it; setting aside and deleting them.

A state is judged by its names, sizes, headers and pickles (sd-scripts' files: trainers.md 1.4); no tensor is read and
nothing is unpickled. Ours is written under another name and renamed when whole, so it cannot be half; upstream's can.
A broken one is renamed and kept. Only complete ones are ever deleted, and only those that retention names.
"""

import functools
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from os import scandir
from pathlib import Path

import msgspec

from fluxgymd.core.compatibility import Made, optimizer_form
from fluxgymd.core.decoding import decode
from fluxgymd.core.resume import CheckpointFacts, Trainer, aside_name, epoch_in_name, is_state_folder, true_step
from fluxgymd.store import safetensors_header, torch_file
from fluxgymd.store.atomic import sync_folder

WEIGHTS = "model.safetensors"
PICKLES = ("optimizer.bin", "scheduler.bin", "random_states_0.pkl")
DOWN, UP = ".lora_down.weight", ".lora_up.weight"
OUR_FORMAT = "fluxgym-"
"""train_state.json's `format` begins so where our trainer wrote it; sd-scripts writes no such key."""


class TrainState(msgspec.Struct, frozen=True):
    """train_state.json. What follows the two counters is our trainer's."""

    current_epoch: int
    current_step: int
    format: str = ""
    total_steps: int | None = None
    steps_per_epoch: int | None = None
    seed: int | None = None

    @property
    def trainer(self) -> Trainer:
        return Trainer.OURS if self.format.startswith(OUR_FORMAT) else Trainer.SD_SCRIPTS


def scan(folder: Path, output_name: str, *, steps_per_epoch: int | None = None) -> list[CheckpointFacts]:
    """All states below a job's folder, those that were set aside too. One that was being replaced when the power went
    lies as `NAME.old`, and is taken where NAME is missing.

    `steps_per_epoch`: of the job's dataset as it is, which tells the true step of a state of sd-scripts.
    """
    try:
        with scandir(folder) as entries:
            names = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        replaced = name.endswith(".old") and name.removesuffix(".old") in names
        if is_state_folder(name, output_name) and not replaced:
            # The trainer deletes old states while we look: one that goes away meanwhile is gone.
            with suppress(FileNotFoundError):
                found.append(_facts(folder / name, steps_per_epoch))
    return found


def set_aside(path: Path) -> str:
    """Renames a broken state durably, so that neither a trainer nor we take it again; its new name."""
    with scandir(path.parent) as entries:
        name = aside_name(path.name, [entry.name for entry in entries])
    path.rename(path.with_name(name))
    sync_folder(path.parent)
    return name


def delete(path: Path) -> None:
    """Deletes a state without ever showing a half of it under its own name."""
    doomed = path.with_name(f"{path.name}.tmp")  # our trainer's own name for what is no state (yet, or any more)
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def unfinished(folder: Path, output_name: str) -> list[Path]:
    """What our trainer was writing or deleting when it was killed: no states, by their names."""
    with scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(".tmp")]
    return [folder / name for name in sorted(names) if is_state_folder(name.removesuffix(".tmp"), output_name)]


def read_train_state(path: Path) -> TrainState:
    """OSError or msgspec.MsgspecError."""
    return decode((path / "train_state.json").read_bytes(), TrainState)


def _facts(path: Path, steps_per_epoch: int | None) -> CheckpointFacts:
    state, problem, unreadable = None, None, False
    try:
        state, problem = _inspect(path)
    except OSError as error:
        path.stat()  # FileNotFoundError: the whole state went away
        problem, unreadable = f"it cannot be read: {error.strerror or error}", True
    trainer = state.trainer if state else Trainer.OURS
    if problem is None and re.search(r"\.broken-\d+$", path.name):
        problem = "it was set aside as broken, and is whole now; rename it to take it again"
    named = epoch_in_name(path.name)
    step = None
    if state is not None:
        step = true_step(
            trainer=trainer,
            name=path.name,
            told_epoch=state.current_epoch,
            told_step=state.current_step,
            steps_per_epoch=steps_per_epoch,
        )
    return CheckpointFacts(
        name=path.name,
        epoch=named if named is not None else (state.current_epoch if state else None),
        step=step,
        problem=problem,
        size=_size(path),
        created_at=path.stat().st_mtime,
        trainer=trainer,
        unreadable=unreadable,
    )


def _size(path: Path) -> int:
    with scandir(path) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)


def _inspect(path: Path) -> tuple[TrainState | None, str | None]:
    """The counters and what is wrong, one clause. OSError if the disk does not answer."""
    try:
        state = read_train_state(path)
        if state.current_epoch < 0 or state.current_step < 0:
            return None, "train_state.json holds a negative counter"
    except FileNotFoundError:
        return None, "train_state.json is missing"
    except msgspec.MsgspecError as error:
        return None, f"train_state.json cannot be read: {error}"
    return state, _fault(path)


def _fault(path: Path) -> str | None:
    for name in (WEIGHTS, *PICKLES):
        try:
            if (path / name).stat().st_size == 0:
                return f"{name} is empty"
        except FileNotFoundError:
            return f"{name} is missing"
    try:
        safetensors_header.read(path / WEIGHTS)
    except safetensors_header.NotSafetensors as error:
        return str(error)
    for name in PICKLES:
        stat = (path / name).stat()
        fault = _pickle_fault(path / name, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if fault is not None:
            return fault
    return None


@functools.lru_cache(maxsize=128)
def _pickle_fault(path: Path, _inode: int, _size: int, _modified_ns: int) -> str | None:
    """Remembered for a version of the file: AdamW's takes 40 ms, and a stop that waits for a checkpoint looks each
    second."""
    try:
        torch_file.read(path)
    except torch_file.NotTorch as error:
        return str(error)
    return None


def made(path: Path) -> Made:
    """What a complete state tells of its training. OSError, NotSafetensors, NotTorch or msgspec.MsgspecError."""
    state = read_train_state(path)
    tensors = safetensors_header.read(path / WEIGHTS)
    downs = {name: tensors[name].shape for name in tensors if name.endswith(DOWN) and len(tensors[name].shape) == 2}
    modules = {}
    for name, shape in downs.items():
        up = tensors.get(name.removesuffix(DOWN) + UP)
        modules[name.removesuffix(DOWN)] = (shape[1], up.shape[0] if up is not None and up.shape else 0)
    return Made(
        step=state.current_step if state.trainer is Trainer.OURS else None,
        steps_per_epoch=state.steps_per_epoch,
        modules=modules,
        ranks=frozenset(shape[0] for shape in downs.values()),
        alphas=_alphas(path / WEIGHTS, tensors),
        optimizer=optimizer_form(_optimizer_keys(torch_file.read(path / "optimizer.bin"))),
    )


def _alphas(path: Path, tensors: Mapping[str, safetensors_header.Tensor]) -> frozenset[float]:
    data = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    with path.open("rb") as file:
        start = file.seek(0, 2) - data
        alphas = [tensors[name] for name in tensors if name.endswith(".alpha")]
        values = (safetensors_header.scalar(file, tensor, start) for tensor in alphas)
        return frozenset(value for value in values if value is not None)


def _optimizer_keys(saved: object) -> frozenset[str]:
    """The keys of one parameter's state and of one group, as Optimizer.state_dict() has them."""
    if not isinstance(saved, dict):
        return frozenset()
    states, groups = saved.get("state"), saved.get("param_groups")
    first = list(states.values())[:1] if isinstance(states, dict) else []
    first += groups[:1] if isinstance(groups, list) else []
    return frozenset(key for part in first if isinstance(part, dict) for key in part if isinstance(key, str))
