# SPDX-License-Identifier: Apache-2.0
"""Before an attempt: where it begins, and what is cleared out of its way. core/resume and core/compatibility decide.

Everything here looks at, renames or deletes files of a job of which nothing runs. It blocks on the disk. An attempt
that is not to be started leaves all as it is but for broken states, which are renamed.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluxgym.errors import StorageFailed
from fluxgym.messages import Context, Model
from fluxgymd.core import compatibility
from fluxgymd.core.resume import Begin, CheckpointFacts, GoOn, Impossible, Trainer, choose, newest, outdated
from fluxgymd.datasets.snapshot import PICTURES
from fluxgymd.store import caches, checkpoints, safetensors_header
from fluxgymd.store.home import JobFolder
from fluxgymd.store.safetensors_header import NotSafetensors
from fluxgymd.store.torch_file import NotTorch
from fluxgymd.trainers import kohya


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """Where an attempt begins."""

    where: Begin | GoOn | Impossible
    set_aside: tuple[str, ...] = ()
    """The new names of broken states."""
    notes: tuple[str, ...] = ()
    """Sentences for monitor.log."""

    @property
    def resumed_from(self) -> str | None:
        return self.where.checkpoint.name if isinstance(self.where, GoOn) else None

    @property
    def step(self) -> int:
        return (self.where.checkpoint.step or 0) if isinstance(self.where, GoOn) else 0


def prepare(context: Context, folder: JobFolder, *, trainer: Trainer) -> Beginning:
    """Chooses, checks, sets aside and clears. StorageFailed: the disk does not answer, and nothing is decided."""
    try:
        return _prepare(context, folder, trainer)
    except OSError as error:
        raise StorageFailed(f"{error.filename or folder.path} cannot be read: {error.strerror or error}.") from error


def scan(context: Context | None, folder: JobFolder) -> list[CheckpointFacts]:
    """The job's checkpoints, with their true steps where its settings and its dataset tell them."""
    steps_per_epoch = _steps_per_epoch(context, folder) if context is not None else None
    return checkpoints.scan(folder.path, folder.name, steps_per_epoch=steps_per_epoch)


def newest_name(folder: JobFolder) -> str:
    """The newest complete checkpoint; empty if there is none."""
    found = newest(checkpoints.scan(folder.path, folder.name))
    return found.name if found is not None else ""


def tidy(context: Context, folder: JobFolder, *, trainer: Trainer) -> list[str]:
    """Deletes the checkpoints that are too many, and tells which. OSError; what is left can be tidied again."""
    notes = []
    for checkpoint in outdated(scan(context, folder), trainer=trainer, keep=kohya.kept_states(context)):
        checkpoints.delete(folder.path / checkpoint.name)
        notes.append(f"the old checkpoint {checkpoint.name} was deleted")
    for path in checkpoints.unfinished(folder.path, folder.name):
        checkpoints.delete(path)
        notes.append(f"the half-written {path.name} was deleted")
    return notes


def _prepare(context: Context, folder: JobFolder, trainer: Trainer) -> Beginning:
    found = scan(context, folder)
    for checkpoint in found:
        if checkpoint.unreadable and not checkpoint.set_aside:
            raise StorageFailed(f"The checkpoint {checkpoint.name} is not looked past: {checkpoint.problem}.")
    aside, notes = _set_aside(found, folder)
    where = choose(found, trainer=trainer, epochs=context.epochs or 0)
    if isinstance(where, GoOn):
        where = _check_fit(where, context, folder)
    if not isinstance(where, Impossible):
        notes += tidy(context, folder, trainer=trainer)
        notes += [f"the cache {name} was torn and was removed" for name in caches.remove_torn(folder.dataset)]
    return Beginning(where=where, set_aside=tuple(aside), notes=tuple(notes))


def _set_aside(found: list[CheckpointFacts], folder: JobFolder) -> tuple[list[str], list[str]]:
    aside, notes = [], []
    for checkpoint in sorted(found, key=lambda checkpoint: checkpoint.name):
        if not checkpoint.complete and not checkpoint.set_aside:
            name = checkpoints.set_aside(folder.path / checkpoint.name)
            aside.append(name)
            notes.append(
                f"the checkpoint {checkpoint.name} is broken and was set aside as {name}: {checkpoint.problem}"
            )
    return aside, notes


def _check_fit(where: GoOn, context: Context, folder: JobFolder) -> GoOn | Impossible:
    name = where.checkpoint.name
    try:
        made = checkpoints.made(folder.path / name)
    except (NotSafetensors, NotTorch, msgspec.MsgspecError) as error:  # it was whole a moment ago
        raise StorageFailed(f"The checkpoint {name} changed while it was looked at: {error}.") from error
    asked = compatibility.asked(
        context, steps_per_epoch=_steps_per_epoch(context, folder), models=_linears(context.model or Model())
    )
    found = compatibility.differences(made, asked)
    if not found:
        return where
    return Impossible(f"Its checkpoint {name} does not fit its settings: {'; '.join(found)}.")


def _steps_per_epoch(context: Context, folder: JobFolder) -> int | None:
    """Of the dataset as it lies in the job's home; None if there is none."""
    try:
        with os.scandir(folder.dataset) as entries:
            pictures = sum(1 for entry in entries if Path(entry.name).suffix.lower() in PICTURES)
    except OSError:
        return None
    return kohya.steps_per_epoch(context, pictures) if pictures else None


def _linears(model: Model) -> dict[str, tuple[int, int]] | None:
    """None where a file cannot be read: that is for the trainer to say, in its own words."""
    try:
        return compatibility.linears(_shapes(model))
    except (OSError, NotSafetensors):
        return None


def _shapes(model: Model) -> Iterator[tuple[str, tuple[int, ...]]]:
    for path in (model.transformer, model.clip_l):
        for key, tensor in safetensors_header.read(Path(str(path))).items():
            yield key, tensor.shape
