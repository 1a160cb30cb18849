# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of a job as they lie on the disk, each with what is wrong with it.

Nothing is unpickled here: a state is judged by its names, sizes and headers (sd-scripts' files: trainers.md 1.4).
Ours is written under another name and renamed when whole, so it cannot be half; upstream's can.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

import msgspec

from fluxgymd.core.decoding import decode
from fluxgymd.core.resume import CheckpointFacts, is_state_folder
from fluxgymd.store import safetensors_header

REQUIRED = ("model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl")


class TrainState(msgspec.Struct):
    """train_state.json."""

    current_epoch: int
    current_step: int


def scan(folder: Path, output_name: str) -> list[CheckpointFacts]:
    """All states below a job's folder. One that was being replaced when the power went lies as `NAME.old`, and is
    taken where NAME is missing."""
    try:
        with os.scandir(folder) as entries:
            names = {entry.name for entry in entries if entry.is_dir()}
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        plain = name.removesuffix(".old")
        if is_state_folder(plain, output_name) and (name == plain or plain not in names):
            # The trainer deletes old states while we look: one that goes away meanwhile is gone.
            with suppress(FileNotFoundError):
                found.append(_facts(folder / name))
    return found


def _facts(path: Path) -> CheckpointFacts:
    state, problem = _read_train_state(path)
    epoch = re.search(r"-(\d{6})-state(\.old)?$", path.name)
    return CheckpointFacts(
        name=path.name,
        epoch=int(epoch[1]) if epoch else (state.current_epoch if state else None),
        step=state.current_step if state else None,
        problem=problem or _missing(path),
        size=_size(path),
        created_at=path.stat().st_mtime,
    )


def _size(path: Path) -> int:
    with os.scandir(path) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.is_file())


def _read_train_state(path: Path) -> tuple[TrainState | None, str | None]:
    try:
        return decode((path / "train_state.json").read_bytes(), TrainState), None
    except FileNotFoundError:
        return None, "train_state.json is missing"
    except (OSError, msgspec.MsgspecError) as error:
        return None, f"train_state.json cannot be read: {error}"


def _missing(path: Path) -> str | None:
    for name in REQUIRED:
        try:
            if (path / name).stat().st_size == 0:
                return f"{name} is empty"
        except OSError:
            return f"{name} is missing"
    return safetensors_header.problem(path / "model.safetensors")
