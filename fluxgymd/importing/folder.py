# SPDX-License-Identifier: Apache-2.0
"""Reads the folders under outputs/ that have no journal: finds those of an older FluxGym and turns them into jobs.

Nothing is written, opened for writing or locked here. A folder that isn't an older training is ignored silently. One
that cannot be read is reported in the log, and the others are still read. Blocks on the disk, at the start of the
daemon.
"""

import hashlib
import logging
import os
import re
from collections.abc import Container
from dataclasses import dataclass, field, replace
from pathlib import Path

from fluxgym.errors import InvalidName
from fluxgym.files import Unusable, open_for_reading
from fluxgym.names import check_name
from fluxgym.protocol.messages import Context
from fluxgymd.core.job import Job, fold
from fluxgymd.core.journal.events import AnyEvent, Imported, Submitted
from fluxgymd.importing import dataset_file, form, script, settings
from fluxgymd.importing.conclusion import Lora, TrainingFiles, conclude, unfinished_business
from fluxgymd.importing.settings import Obstacle
from fluxgymd.store.formats import safetensors_header
from fluxgymd.store.formats.safetensors_header import NotSafetensors
from fluxgymd.trainers import state_folders
from fluxgymd.trainers.progress import metrics
from fluxgymd.trainers.states import is_state_folder

log = logging.getLogger(__name__)

SCRIPTS = ("train.sh", "train.bat")
LOGS = ("training_resume.log", "training.log")
"""The newer one first: the fork's monitor writes training_resume.log after training.log."""
TEXT_BYTES = 1024 * 1024
"""More than any text file of the older FluxGym has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Older:
    """A training of the older FluxGym."""

    name: str
    history: tuple[AnyEvent, ...]
    """The events that its journal would hold."""
    obstacles: tuple[Obstacle, ...]

    @property
    def job(self) -> Job:
        return fold(self.history)


@dataclass(slots=True)
class Found:
    """What was found under outputs/ in folders without a journal."""

    older: list[Older] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Jobs of this FluxGym whose journal is missing."""
    misnamed: list[str] = field(default_factory=list)
    """Sentences about trainings whose folder has a name that no job can have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """The small files of a folder, parsed."""

    flags: script.Flags | None
    form: form.Form | None
    dataset: dataset_file.DatasetFile | None
    prompts: tuple[str, ...]
    written_at: float
    """When train.sh was written; without it, when the folder was changed."""

    @property
    def output_name(self) -> str | None:
        """The name of the trainer's files; None if the command line does not say."""
        words = (self.flags or {}).get("output_name", [])
        return words[0] if len(words) == 1 and "/" not in words[0] else None


def find_one(home: Path, name: str) -> Found:
    """Reads the folder with this name under outputs/, which has no journal. Raises OSError."""
    found = Found()
    _look(home, name, found)
    return found


def find(home: Path, known: Container[str]) -> Found:
    """Reads all folders under outputs/ but those in `known`, which have a journal."""
    found = Found()
    with os.scandir(home / "outputs") as entries:
        names = sorted(entry.name for entry in entries if entry.name not in known and _is_visible_folder(entry))
    for name in names:
        try:
            _look(home, name, found)
        except OSError as error:
            log.warning("outputs/%s could not be examined: %s", name, error)
        except Exception:  # one folder must not hide the others, nor the jobs
            log.exception("outputs/%s could not be interpreted and is not shown", name)
    return found


def loras(folder: Path, output_name: str) -> list[str]:
    """The names of a training's LoRA files, as sd-scripts forms them, in alphabetical order."""
    pattern = re.compile(re.escape(output_name) + r"(-\d{6}|-step\d{8})?\.safetensors")
    return sorted(name for name in os.listdir(folder) if pattern.fullmatch(name))


def _is_visible_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.name[0] != "." and entry.is_dir()
    except OSError:
        return False


def _look(home: Path, name: str, found: Found) -> None:
    folder = home / "outputs" / name
    files = set(os.listdir(folder))
    texts = _texts(folder, files)
    if texts.form is not None and "job_id" in texts.form.values:
        found.lost.append(name)
    elif _is_older(texts, name, files):
        try:
            check_name(name)
        except InvalidName as error:
            found.misnamed.append(
                f"{name!r} under outputs/ is an older training, but its name is not a valid job name; "
                f"rename the folder to {error.fields['proposal']!r} to see it."
            )
        else:
            found.older.append(_read(home, name, texts))


def _is_older(texts: Texts, name: str, files: set[str]) -> bool:
    written = texts.flags is not None or texts.form is not None
    pointed = texts.dataset is not None and texts.dataset.pictures is not None
    trained = f"{name}.safetensors" in files or any(is_state_folder(file, name) for file in files)
    return written or pointed or trained


def _texts(folder: Path, files: set[str]) -> Texts:
    scripts = [file for file in SCRIPTS if file in files]
    flags = script.trainer_flags(_data(folder / scripts[0]).decode(errors="replace")) if scripts else None
    state = form.read(_data(folder / "ui_state.json")) if "ui_state.json" in files else None
    prompts = ""
    if "sample_prompts.txt" in files:
        prompts = _data(folder / "sample_prompts.txt").decode(errors="replace")
    elif state is not None:
        prompts = state.text("sample_prompts")
    return Texts(
        flags=flags if flags is not None or state is None else form.trainer_flags(state),
        form=state,
        dataset=dataset_file.read(_data(folder / "dataset.toml")) if "dataset.toml" in files else None,
        prompts=tuple(line.strip() for line in prompts.splitlines() if line.strip() and line.strip()[0] != "#"),
        written_at=(folder / scripts[0] if scripts else folder).stat().st_mtime,
    )


def _data(path: Path) -> bytes:
    """The beginning of a file; empty if there is no file, or something else, such as a pipe that would block."""
    try:
        with open_for_reading(path) as file:
            return file.read(TEXT_BYTES)
    except (FileNotFoundError, Unusable):
        return b""


def _read(home: Path, name: str, texts: Texts) -> Older:
    folder = home / "outputs" / name
    left = _left(folder, texts, texts.output_name or name)
    context, obstacles = settings.to_job(
        settings.OlderFiles(
            name=name,
            home=home,
            flags=texts.flags,
            dataset=texts.dataset,
            prompts=texts.prompts,
            trigger_word=texts.form.text("concept_sentence").strip() or None if texts.form else None,
            repeats=texts.form.number("num_repeats") if texts.form else None,
            resolution=texts.form.number("resolution") if texts.form else None,
        ),
        os.path.exists,
    )
    lost = unfinished_business(left)
    if lost is not None:
        obstacles = (Obstacle(sentence=f"{lost}; submit its dataset as a new job to train it again"), *obstacles)
    return Older(name=name, history=_history(folder, texts, context, left), obstacles=obstacles)


def _history(folder: Path, texts: Texts, context: Context, left: TrainingFiles) -> tuple[AnyEvent, ...]:
    at = left.asked_at if left.asked_at is not None and abs(left.asked_at) < 1e11 else texts.written_at
    # It stays the same when the daemon restarts, and a copy of the folder gets another one.
    identity = hashlib.blake2b(f"{folder.name}/{folder.stat().st_ino}".encode(), digest_size=16).hexdigest()
    said = conclude(left)
    submitted = Submitted(at=at, id=identity, context=context, rank=at)
    return submitted, Imported(at=at, outcome=said.outcome, reason=said.reason, failure=said.failure)


def _left(folder: Path, texts: Texts, output_name: str) -> TrainingFiles:
    weights = [_lora(folder / name) for name in loras(folder, output_name)]
    values = texts.form or form.Form({})
    logs = [folder / name for name in LOGS if (folder / name).is_file()]
    left = TrainingFiles(
        final=next((lora for lora in weights if lora.name == f"{output_name}.safetensors"), None),
        others=tuple(lora for lora in weights if lora.name != f"{output_name}.safetensors"),
        status=values.text("status"),
        error=values.text("error"),
        asked_at=values.number("timestamp"),
        log=metrics.tail(logs[0], 0) if logs else "",
        went_on_from=" ".join((texts.flags or {}).get("resume", [])),
    )
    if conclude(left).outcome == "completed":
        return left  # its states do not matter, and checking each would mean reading its pickle files
    return replace(left, states=tuple(state_folders.scan(folder, output_name)))


def _lora(path: Path) -> Lora:
    try:
        told = safetensors_header.read(path).texts
    except NotSafetensors as error:
        return Lora(name=path.name, problem=str(error))
    return Lora(
        name=path.name,
        started_at=_time(told.get("ss_training_started_at")),
        finished_at=_time(told.get("ss_training_finished_at")),
    )


def _time(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
