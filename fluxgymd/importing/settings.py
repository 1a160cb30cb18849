# SPDX-License-Identifier: Apache-2.0
"""The settings of an older training as those of a job, so that it continues as it began. Pure: the check whether a
file exists is passed in.

The job's command line has every flag of the old one, and no other flag that the trainer would act on
(tests/importing/test_settings.py): a flag that a job would pass by default, but the old command did not, is switched
off. What cannot be carried over is an obstacle: it is reported, and nothing is started with a guess in its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import msgspec

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context, Model
from fluxgymd.importing.dataset_file import DatasetFile
from fluxgymd.importing.script import Flags, flags
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya
from fluxgymd.trainers import settings as job_settings
from fluxgymd.trainers.dataset_toml import CAPTION_FLAGS, OFF
from fluxgymd.trainers.states import StateWriter

ALL_STATES = 1000
"""The older FluxGym deletes no states, so none of those that it left is deleted: this is the largest `keep_states` in
settings.RANGES."""

SECRETS = frozenset({"huggingface_token", "wandb_api_key"})
"""They were readable for everybody in train.sh, and would stay in the journal forever."""

OF_THE_DATASET_FILE = frozenset({"train_batch_size", "shuffle_caption", "keep_tokens", *CAPTION_FLAGS})
"""The older FluxGym's dataset.toml always sets these itself, so on its command line they had no effect."""

WHOLE = {
    "seed": "seed",
    "max_train_epochs": "epochs",
    "save_every_n_epochs": "save_every_epochs",
    "network_dim": "network_dim",
    "sample_every_n_steps": "sample_every_steps",
    "sample_every_n_epochs": "sample_every_epochs",
    "save_last_n_epochs_state": "keep_states",
}
"""Flag -> setting, for settings that are whole numbers."""

MODELS = {
    "pretrained_model_name_or_path": "transformer",
    "clip_l": "clip_l",
    "t5xxl": "t5xxl",
    "ae": "autoencoder",
    "tokenizer_cache_dir": "tokenizers",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Obstacle:
    """Something that prevents an older training from being continued."""

    sentence: str
    setting: str | None = None
    """An edit that gives this setting removes the obstacle; None if no edit does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OlderFiles:
    """The contents of the older FluxGym's files, as far as they could be read."""

    name: str
    home: Path
    flags: Flags | None
    dataset: DatasetFile | None
    prompts: Sequence[str] = ()
    trigger_word: str | None = None
    """From the form; dataset.toml takes precedence."""
    repeats: object = None
    resolution: object = None


def to_job(read: OlderFiles, exists: Callable[[str], bool]) -> tuple[Context, tuple[Obstacle, ...]]:
    """The job's settings, and the obstacles. Without obstacles the settings are complete."""
    return _Conversion(read, exists).result()


class _Conversion:
    def __init__(self, read: OlderFiles, exists: Callable[[str], bool]) -> None:
        self._read = read
        self._exists = exists
        self._obstacles: list[Obstacle] = []

    def result(self) -> tuple[Context, tuple[Obstacle, ...]]:
        values: dict[str, Any] = {"name": self._read.name, "keep_states": ALL_STATES}
        values |= self._dataset()
        if self._read.flags is None:
            self._obstacles.append(Obstacle(sentence="its train.sh, which holds its settings, is missing"))
        else:
            values |= self._from_flags(self._read.flags)
        context = Context(**{key: value for key, value in values.items() if value is not None})
        try:
            context = job_settings.complete_training(context, self._read.home, new=False)
        except InvalidSetting as error:
            setting = str(error.fields.get("setting", "")).partition(".")[0]
            self._obstacles.append(Obstacle(sentence=error.message.rstrip("."), setting=setting or None))
        options = self._options(context) if self._read.flags is not None else None
        if options is not None and self._read.dataset is not None:
            options |= self._read.dataset.bucket_options  # the file overrode the command line
        return msgspec.structs.replace(context, trainer_options=options), tuple(self._obstacles)

    def _dataset(self) -> dict[str, Any]:
        read, told = self._read, self._read.dataset or DatasetFile()
        if told.beyond:
            what = f"its dataset.toml asks for {', '.join(told.beyond)}, which jobs do not support"
            self._obstacles.append(Obstacle(sentence=what))
        # The older FluxGym's folder for the pictures, if the file does not name one.
        pictures = told.pictures or f"datasets/{read.name}"
        return {
            "dataset": self._path(pictures),
            "trigger_word": told.trigger_word or read.trigger_word,
            "repeats": self._whole("repeats", read.repeats if told.repeats is None else told.repeats),
            "resolution": self._whole("resolution", read.resolution if told.resolution is None else told.resolution),
            "enable_bucket": told.enable_bucket,
        }

    def _from_flags(self, given: Flags) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for flag, setting in WHOLE.items():
            if flag in given:
                values[setting] = self._whole(setting, _only(given[flag]))
        if "learning_rate" in given:
            values["learning_rate"] = self._rate(_only(given["learning_rate"]))
        values["sample_prompts"] = [prompt for prompt in self._read.prompts if "sample_prompts" in given]
        for setting in ("sample_every_steps", "sample_every_epochs"):
            if not values["sample_prompts"] or not values.get(setting):
                values[setting] = None
        files = {field: self._path(given[flag][0]) for flag, field in MODELS.items() if given.get(flag)}
        values["model"] = Model(**files)
        self._check_plan(given)
        return values

    def _check_plan(self, given: Flags) -> None:
        if "config_file" in given:
            self._obstacles.append(Obstacle(sentence="its train.sh takes settings from another file (config_file)"))
        if "max_train_epochs" not in given:
            what = "its train.sh does not set the number of epochs (max_train_epochs)"
            self._obstacles.append(Obstacle(sentence=what, setting="epochs"))
        name = _only(given.get("output_name", [self._read.name]))
        if name != self._read.name:
            what = f"its files are named {name} but its folder {self._read.name}; rename the files or the folder"
            self._obstacles.append(Obstacle(sentence=what))

    def _options(self, context: Context) -> dict[str, list[str]]:
        """The flags of the old command line that are not settings, and OFF for each flag that a job's command line
        has by default but the old one did not have."""
        given = self._read.flags or {}
        folder = JobFolder(self._read.home / "outputs" / self._read.name)
        plain = msgspec.structs.replace(context, trainer_options={})
        default = flags(kohya.arguments(plain, folder, None, trainer=StateWriter.SD_SCRIPTS))
        settled = {*kohya.OURS, *kohya.REPLACED, *SECRETS, *OF_THE_DATASET_FILE, "save_last_n_epochs_state"}
        options = {
            name: words
            for name, words in given.items()
            if name not in settled and not (name in default and _same(words, default[name]))
        }
        return options | {name: OFF for name in default if name not in given and name not in settled}

    def _whole(self, setting: str, value: object) -> int | None:
        """A whole number, however it is written; None if it was not given, or, with an obstacle, if it is not one."""
        if value is None:
            return None
        try:
            number = float(value) if isinstance(value, str | int | float) else float("nan")
            if number == int(number):
                return int(number)
        except (ValueError, OverflowError):
            pass
        what = f"its {setting} is {value!r}, which is not a whole number"
        self._obstacles.append(Obstacle(sentence=what, setting=setting))
        return None

    def _rate(self, value: str) -> float | None:
        try:
            return float(value)
        except ValueError:
            what = f"its learning_rate is {value!r}, which is not a number"
            self._obstacles.append(Obstacle(sentence=what, setting="learning_rate"))
            return None

    def _path(self, path: str) -> str:
        """A file's present path: the home may have been moved or mounted elsewhere since train.sh was written."""
        home = self._read.home
        there = str(home / path)  # of an absolute path, the path itself
        if self._exists(there):
            return there
        below = _below(self._old_home(), there)
        moved = str(home / below) if below is not None else there
        return moved if self._exists(moved) else there

    def _old_home(self) -> PurePath | None:
        """The home at the time: the folder above the outputs/ that the training wrote to."""
        words = (self._read.flags or {}).get("output_dir")
        folder = PurePath(words[0]) if words else None
        return folder.parents[1] if folder is not None and len(folder.parents) > 2 else None


def _only(words: Sequence[str]) -> str:
    return " ".join(words)


def _below(folder: PurePath | None, path: str) -> PurePath | None:
    if folder is None or not PurePath(path).is_relative_to(folder):
        return None
    return PurePath(path).relative_to(folder)


def _same(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two flags have the same words; `1.0` and `1` are the same."""
    return len(one) == len(other) and all(map(_equal, one, other))


def _equal(one: str, other: str) -> bool:
    return one == other or (_number(one) is not None and _number(one) == _number(other))


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
