# SPDX-License-Identifier: Apache-2.0
"""Reads the folder of a dataset, whatever it is. A damaged journal hides no other dataset (promise 8)."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from fluxgym.errors import DatasetDamaged
from fluxgym.files import read_file
from fluxgymd.core.datasets import events
from fluxgymd.core.datasets.dataset import Dataset, Folding
from fluxgymd.pictures.names import CAPTION
from fluxgymd.snapshots import contents
from fluxgymd.store import journal
from fluxgymd.store.home import JOURNAL
from fluxgymd.store.journal import Journal

CAPTION_BYTES = 1 << 20


@dataclass(kw_only=True, slots=True)
class Stored:
    """A sound stored dataset. `dataset` is the fold of `folding`."""

    folder: Path
    journal: Journal
    folding: Folding
    dataset: Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Plain:
    """A folder of the user's."""

    folder: Path
    captions: dict[str, str | None] = field(default_factory=dict)
    """The caption of each picture, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Damaged:
    folder: Path
    problem: str
    """A sentence that says what is wrong, and how to repair it."""

    def error(self) -> DatasetDamaged:
        return DatasetDamaged(self.problem, name=self.folder.name)


Found = Stored | Plain | Damaged


def load(folder: Path) -> Found:
    """Reads the dataset in a folder. FileNotFoundError if there is none; NotADirectoryError. Blocks."""
    path = folder / JOURNAL
    if not os.path.lexists(path):
        return Plain(folder=folder, captions=_captions(folder))
    folding = Folding()
    try:
        found = journal.scan(path, lambda line: folding.take(events.decode(line)))
    except OSError as error:
        return Damaged(folder=folder, problem=damage_sentence(folder, f"{path.name}: {error.strerror or error}"))
    if found.problem is not None:
        return Damaged(folder=folder, problem=damage_sentence(folder, found.problem))
    return Stored(folder=folder, journal=Journal(path, found.good_size), folding=folding, dataset=folding.dataset())


def damage_sentence(folder: Path, damage: str) -> str:
    return (
        f"The journal of the dataset {folder.name} is damaged: {damage}. Nothing is written to it; repair or restore "
        f"{folder / JOURNAL}, or move the folder {folder} away."
    )


def _captions(folder: Path) -> dict[str, str | None]:
    names = os.listdir(folder)
    texts = {name for name in names if name.endswith(CAPTION)}
    return {
        name: _text(folder / caption) if (caption := Path(name).stem + CAPTION) in texts else None
        for name in contents.picture_names(folder)
    }


def _text(path: Path) -> str | None:
    """A caption of the user's, as far as it can be shown; the import reads it with its true encoding."""
    try:
        return read_file(path, most=CAPTION_BYTES).decode(errors="replace").strip() or None
    except OSError:
        return None
