# SPDX-License-Identifier: Apache-2.0
"""What is carried over from another program's settings to a job: fields, options, and notes about the rest. Pure, but
for the questions to `FileReader`."""

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from fluxgym.errors import InvalidSetting
from fluxgym.names import propose
from fluxgym.protocol.messages import Context, Model, OptionType, Part, TrainerOption
from fluxgym.quoting import short
from fluxgymd.importing.settings import MODELS, SECRETS, WHOLE
from fluxgymd.trainers.dataset_toml import BUCKETS, CAPTION_FLAGS, OFF
from fluxgymd.trainers.settings import DEFAULTS

KEEPS_ZERO = frozenset({"max_grad_norm", "seed", "guidance_scale", "network_alpha"})
"""Flags of which 0 is a value; for the others it asks for nothing."""
WITHOUT_EFFECT = frozenset(
    {
        *("adaptive_noise_scale", "clip_skip", "debiased_estimation_loss", "ip_noise_gamma_random_strength"),
        *("max_timestep", "max_token_length", "min_snr_gamma", "min_timestep", "multires_noise_discount"),
        *("multires_noise_iterations", "noise_offset", "noise_offset_random_strength", "noise_offset_type"),
        *("sample_sampler", "scale_v_pred_loss_like_noise_pred", "v2", "v_parameterization", "v_pred_like_loss"),
        *(
            "vae",
            "zero_terminal_snr",
            "no_half_vae",
            "vae_batch_size",
            "mem_eff_attn",
            "persistent_data_loader_workers",
        ),
    }
)
"""sd-scripts' flags that change nothing about a FLUX.1 LoRA."""
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def asks_nothing(value: object) -> bool:
    """Whether a value is as good as none. Programs write every setting that they know."""
    return value is None or value is False or value in ("", [], {}, "None", "none")


class FileReader(Protocol):
    """What a conversion may ask about the files that the settings name. The answer is None if there is none."""

    def text(self, path: str) -> str | None:
        """A short text file."""

    def folders(self, path: str) -> list[str] | None:
        """The names of the folders in a folder, sorted."""

    def pictures(self, path: str) -> int | None:
        """How many pictures there are in a folder."""


class Carried:
    """Collects the settings of a job."""

    def __init__(self, options: Sequence[TrainerOption], folder: Path, files: FileReader) -> None:
        """`options`: the trainer's flags; empty if it does not answer. `folder`: where relative paths begin."""
        self.known = {option.name: option for option in options}
        self.folder = folder
        self.files = files
        self.fields: dict[str, Any] = {}
        self.options: dict[str, list[str]] = {}
        self.notes: list[str] = []
        self._models: dict[str, str] = {}
        self._without_effect: list[str] = []

    def leave(self, name: str, value: object, reason: str) -> None:
        """Notes that a setting is not carried over."""
        if not asks_nothing(value):
            self.notes.append(f"{name} = {shown(name, value)} is not carried over: {reason}.")

    def path(self, name: str, value: object) -> str | None:
        """An absolute path; None, with a note, if it is one on Windows."""
        text = str(value)
        if WINDOWS.match(text):
            self.leave(name, value, "it is a path on Windows; give the one on this machine")
            return None
        return str(self.folder / text)

    def model(self, field: str, name: str, value: object) -> None:
        path = self.path(name, value)
        if path is not None:
            self._models[field] = path

    def whole(self, field: str, name: str, value: object) -> None:
        """A field that is a whole number."""
        number = self.exactly(field, name, value)
        if number is not None:
            self.fields[field] = number

    def exactly(self, field: str, name: str, value: object) -> int | None:
        """The value as a whole number. If it is not one: None, and a note."""
        try:
            return _exactly(value)
        except ValueError:
            self.leave(name, value, f"{field} must be a whole number")
            return None

    def flag(self, name: str, value: object) -> None:
        """A flag of sd-scripts, as a field or an option of the job."""
        if name in SECRETS:
            self.leave(name, value, "a job keeps no secrets")
        elif name in WITHOUT_EFFECT:
            self._without_effect += [name] if not asks_nothing(value) and value != 0 else []
        elif asks_nothing(value) or (value == 0 and name not in KEEPS_ZERO):
            self._off(name, value)
        elif name in WHOLE:
            self.whole(WHOLE[name], name, value)
        elif name == "learning_rate":
            self._number(name, value)
        elif name in MODELS:
            self.model(MODELS[name], name, value)
        elif name == "output_name":
            self.fields["name"] = propose(str(value))
        elif name == "enable_bucket":
            self.fields[name] = True
        else:
            self._option(name, value)

    def words(self, name: str, value: object) -> list[str]:
        """The words of a text, split as in a shell; none, with a note, if it has an open quote."""
        try:
            return shlex.split(str(value))
        except ValueError:
            self.leave(name, value, "it has a quotation mark without its partner")
            return []

    def _off(self, name: str, value: object) -> None:
        option = self.known.get(name)
        if value is False and option is not None and option.passed is not None and option.instead is None:
            self.options[name] = OFF

    def _number(self, field: str, value: object) -> None:
        try:
            self.fields[field] = float(str(value))
        except ValueError:
            self.leave(field, value, "it must be a number")

    def _option(self, name: str, value: object) -> None:
        option = self.known.get(name)
        if self.known and option is None:
            self.leave(name, value, "the trainer has no such flag")
            return
        if option is not None and option.instead is not None:
            self.leave(name, value, f"use {option.instead}")
            return
        words = _words(value, option)
        if isinstance(value, str) and option is not None and option.repeated:
            words = self.words(name, value)
            if not words:
                return
        if option is not None and option.choices and words and words[0].lower() not in map(str.lower, option.choices):
            self.leave(name, value, f"the trainer takes {', '.join(option.choices)}")
        elif option is None or not _same(words, option.passed):
            self.options[name] = words

    def job(self) -> tuple[Context, list[str]]:
        """The job, whose name is empty if the settings have none, and the notes."""
        notes = list(self.notes)
        if self._without_effect:
            notes.append(f"Without effect on FLUX.1, and left out: {', '.join(sorted(self._without_effect))}.")
        shown_defaults = [
            f"{name} {DEFAULTS[name]}"
            for name in ("resolution", "repeats", "epochs", "learning_rate", "network_dim")
            if name not in self.fields
            and not (name == "resolution" and "resolutions" in self.fields)
            and not (name == "repeats" and "parts" in self.fields)
        ]
        if shown_defaults:
            notes.append(f"FluxGym's defaults apply where the file says nothing: {', '.join(shown_defaults)}.")
        if self.fields.get("enable_bucket") is False:  # there, these had no effect; a job refuses them
            self.options = {name: words for name, words in self.options.items() if name not in BUCKETS}
        fields = {"name": ""} | self.fields
        model = Model(**self._models) if self._models else None
        return Context(**fields, model=model, trainer_options=self.options or None), notes

    def epochs_of(self, steps: float, *, batch: float = 1) -> int | None:
        """The epochs that have at least so many steps; None if that is no number, or the pictures of the job cannot
        be counted."""
        repeated = self._repeated_pictures()
        if not repeated or not math.isfinite(steps):
            return None
        trained = repeated * len(self.fields.get("resolutions") or (1,))
        return max(1, -int(-steps // max(1, trained / batch)))

    def _repeated_pictures(self) -> int | None:
        """The pictures of an epoch with their repeats; None if they cannot be counted. There are as many of
        regularisation as of all others."""
        dataset, repeats = self.fields.get("dataset"), self.fields.get("repeats", 1)
        parts = self.fields.get("parts") or ([Part(dataset=dataset)] if dataset else [])
        counts = [(self.files.pictures(part.dataset) or 0, part) for part in parts]
        if not all(count for count, _ in counts):
            return None
        learned: int = sum(count * (part.repeats or repeats) for count, part in counts if not part.regularisation)
        return 2 * learned if any(part.regularisation for part in parts) else learned


def refuse(sentence: str) -> InvalidSetting:
    return InvalidSetting(sentence, setting="")


def shown(name: str, value: object) -> str:
    """A value for a note. Secrets are not shown."""
    return "..." if name in SECRETS else short(str(value).lower() if isinstance(value, bool) else str(value))


def caption_ending(carried: Carried, value: str) -> None:
    """The ending of the captions, which some programs write without the dot."""
    ending = value if value.startswith(".") else f".{value}"
    carried.options.pop(CAPTION_FLAGS[1], None)
    if ending != ".txt":
        carried.options[CAPTION_FLAGS[1]] = [ending]


def _words(value: object, option: TrainerOption | None) -> list[str]:
    if value is True or (option is not None and option.type is OptionType.SWITCH):
        return []
    if isinstance(value, list):
        return [str(item) for item in value]
    return [repr(value) if isinstance(value, float) else str(value)]


def _same(words: Sequence[str], passed: Sequence[str] | None) -> bool:
    """Whether the daemon passes these words anyway; 1.0 is 1."""
    return passed is not None and [_plain(word) for word in words] == [_plain(word) for word in passed]


def _plain(word: str) -> str | float:
    try:
        return float(word)
    except ValueError:
        return word


def _exactly(value: object) -> int:
    """The value as a whole number that a message can hold, or ValueError."""
    number = value if isinstance(value, int) else float(value) if isinstance(value, str | float) else math.nan
    if not -(1 << 63) <= number < 1 << 63 or number != int(number):
        raise ValueError
    return int(number)
