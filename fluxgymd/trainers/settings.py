# SPDX-License-Identifier: Apache-2.0
"""The defaults and ranges of a job's settings. Settings that pass here can be recorded, and can be trained.

The defaults are those of the older FluxGym's form, so that the same form gives the same training.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fluxgym import watchdog
from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context, Kind, Model, RestartPolicy, TriggerPlace
from fluxgym.quoting import short
from fluxgymd.snapshots import subsets
from fluxgymd.trainers import command_line, dataset_toml, kohya
from fluxgymd.trainers.dataset_toml import OFF

DEFAULTS: Mapping[str, Any] = {
    "resolution": 512,
    "repeats": 10,
    "epochs": 16,
    "save_every_epochs": 4,
    "sample_prompts": [],
    "seed": 42,
    "learning_rate": 8e-4,
    "network_dim": 4,
    "trainer_options": {},
    "gpu_count": 1,
    "keep_states": kohya.KEEP_STATES,
}

OF_NEW_JOBS: Mapping[str, Any] = {"trigger_place": TriggerPlace.FIRST, "enable_bucket": True}
"""Defaults that a job of an earlier version, or an imported one, does not get: it trains as it did."""

QUEUEING: Mapping[str, Any] = {
    "kind": Kind.TRAINING,
    "priority": 0,
    "held": False,
    "after": [],
    "gpus": [],
    "restart": RestartPolicy.ON_INTERRUPTION,
}

TRAINING_ONLY = (
    *("dataset", "parts", "model", "trigger_word", "trigger_place", "resolution", "resolutions"),
    "enable_bucket",
    *("repeats", "epochs", "save_every_epochs"),
    *("sample_every_steps", "sample_every_epochs", "sample_prompts", "seed", "learning_rate", "network_dim"),
    *("trainer_options", "gpu_count", "keep_states", "resume_from"),
)

# Where the older FluxGym keeps its models, relative to the home.
MODEL_FILES = {
    "transformer": "models/unet/flux1-dev.sft",
    "clip_l": "models/clip/clip_l.safetensors",
    "t5xxl": "models/clip/t5xxl_fp16.safetensors",
    "autoencoder": "models/vae/ae.sft",
}

TOKENIZERS = "models/tokenizers"

RANGES: Mapping[str, tuple[int, int, str]] = {
    "resolution": (64, 4096, "pixels"),
    "repeats": (1, 100_000, "times"),
    "epochs": (1, 1_000_000, "epochs"),
    "save_every_epochs": (1, 1_000_000, "epochs"),
    "sample_every_steps": (1, 1_000_000_000, "steps"),
    "sample_every_epochs": (1, 1_000_000, "epochs"),
    "seed": (0, 2**63 - 1, ""),
    "network_dim": (1, 1024, ""),
    "priority": (-1000, 1000, ""),
    "gpu_count": (1, 64, "GPUs"),
    "keep_states": (1, 1000, "checkpoints"),
}


MOST_RESOLUTIONS = 16


def complete_training(context: Context, home: Path, *, new: bool = True) -> Context:
    """A training's settings with all defaults filled in and every value checked. InvalidSetting if one is wrong.
    `new`: also those that a job of an earlier version lacks."""
    context = _with_one_form(_complete_queueing(context))
    if context.program:
        raise InvalidSetting("program is for jobs of the kind program; a training has none.", setting="program")
    defaults = {**DEFAULTS, **OF_NEW_JOBS} if new else DEFAULTS
    filled = {key: value for key, value in defaults.items() if getattr(context, key) is None}
    if context.resolutions is not None:
        del filled["resolution"]
    context = msgspec.structs.replace(context, **filled, model=complete_model(context.model or Model(), home))
    _check(context)
    command_line.check(context)
    return context


def complete_model(model: Model, home: Path) -> Model:
    """The model, with the home's files for those that it does not name."""
    paths = {key: getattr(model, key) or str(home / file) for key, file in MODEL_FILES.items()}
    tokenizers = model.tokenizers
    if tokenizers is None and os.path.isdir(home / TOKENIZERS):
        tokenizers = str(home / TOKENIZERS)
    return Model(**paths, tokenizers=tokenizers)


def _with_one_form(context: Context) -> Context:
    """The settings with one resolution as `resolution`, and only several as `resolutions`."""
    several = context.resolutions
    if not several:
        return msgspec.structs.replace(context, resolutions=None)
    if context.resolution is not None:
        raise InvalidSetting("resolution and resolutions are both given; give one of them.", setting="resolutions")
    low, high, unit = RANGES["resolution"]
    for number, side in enumerate(several):
        if not low <= side <= high:
            right = f"{low} to {high} {unit}"
            raise InvalidSetting(
                f"resolutions contains {side}, but each must be from {right}.", setting="resolutions"
            )
        if side in several[:number]:
            raise InvalidSetting(f"resolutions contains {side} twice; give it once.", setting="resolutions")
    if len(several) > MOST_RESOLUTIONS:
        raise InvalidSetting(
            f"resolutions has {len(several)} entries, but may have at most {MOST_RESOLUTIONS}.", setting="resolutions"
        )
    return msgspec.structs.replace(context, resolution=several[0], resolutions=None) if len(several) == 1 else context


def complete_program(context: Context) -> Context:
    """The same for a program's settings."""
    context = _complete_queueing(context)
    _check_program(context)
    command_line.check(context)
    return context


def _complete_queueing(context: Context) -> Context:
    """The settings that every kind of job has."""
    filled = {key: value for key, value in QUEUEING.items() if getattr(context, key) is None}
    context = msgspec.structs.replace(context, **filled)
    for setting in ("kind", "restart", "watchdog", "trigger_place"):
        if getattr(context, setting) == "unknown":
            raise InvalidSetting(f"{setting} has a value that this daemon does not know.", setting=setting)
    _check_ranges(context)
    _check_limits(context.watchdog_limits or {})
    if context.gpus and context.gpu_count is not None and context.gpu_count > len(set(context.gpus)):
        raise InvalidSetting(
            f"gpu_count is {context.gpu_count}, but gpus names only {len(set(context.gpus))}.", setting="gpu_count"
        )
    if context.name in (context.after or ()):
        raise InvalidSetting("A job cannot wait for itself.", setting="after")
    return context


def _check_program(context: Context) -> None:
    if not context.program or not context.program[0].strip():
        raise InvalidSetting("A job of the kind program needs a program and its arguments.", setting="program")
    if any("\0" in word for word in context.program):
        raise InvalidSetting("program contains a NUL character, which an argument cannot.", setting="program")
    if not context.program[0].startswith("/"):
        raise InvalidSetting(
            f"The program is {short(context.program[0])!r}, but must be an absolute path.", setting="program"
        )
    given = [name for name in TRAINING_ONLY if getattr(context, name) is not None]
    given += ["gpus"] if context.gpus else []
    if given:
        raise InvalidSetting(f"{given[0]} is only for trainings, not for programs.", setting=given[0])


def _check_ranges(context: Context) -> None:
    for setting in RANGES:
        _check_range(setting, getattr(context, setting))


def _check_range(setting: str, value: int | None, where: str = "") -> None:
    low, high, unit = RANGES[setting]
    if value is not None and not low <= value <= high:
        right = f"{low} to {high} {unit}".rstrip()
        raise InvalidSetting(f"{where}{setting} is {value}, but must be from {right}.", setting=setting)


def _check_limits(limits: Mapping[str, float]) -> None:
    for name, value in limits.items():
        setting = f"watchdog_limits.{short(name)}"
        try:
            watchdog.known(name).check(value)
        except KeyError as error:
            raise InvalidSetting(f"There is no limit {short(name)}; {error.args[0]}", setting=setting) from None
        except ValueError as error:
            raise InvalidSetting(f"{setting} is {value:g}, but must be {error}.", setting=setting) from None


def _check(context: Context) -> None:
    subsets.refuse(context)
    if not context.dataset and context.parts is None:
        raise InvalidSetting(
            "The job has no dataset; give the name of one, or the folder with the pictures.", setting="dataset"
        )
    for setting, path in (*_folders(context), *_model_paths(context)):
        if not path.startswith("/"):
            raise InvalidSetting(f"{setting} is {short(path)!r}, but must be an absolute path.", setting=setting)
        if "\0" in path:
            raise InvalidSetting(f"{setting} contains a NUL character, which a path cannot.", setting=setting)
    rate = context.learning_rate
    if rate is not None and not (math.isfinite(rate) and 0 < rate <= 100):
        raise InvalidSetting(
            f"learning_rate is {rate}, but must be more than 0 and at most 100.", setting="learning_rate"
        )
    _check_options(context)
    if (context.sample_every_steps or context.sample_every_epochs) and not context.sample_prompts:
        raise InvalidSetting("Samples are requested, but sample_prompts is empty.", setting="sample_prompts")
    for part in context.parts or ():
        _check_range("repeats", part.repeats, where=f"parts, {short(part.dataset)}: ")
    captions = [("parts", part.caption or "") for part in context.parts or ()]
    for setting, text in (("trigger_word", context.trigger_word or ""), *captions, *_prompts(context)):
        # splitlines, like the trainers that read the prompts, also ends lines at characters beyond 0 to 31.
        if any(ord(character) < 32 for character in text) or len(text.splitlines()) > 1:
            raise InvalidSetting(
                f"{setting} contains a control character; it must be one line of text.", setting=setting
            )
    for setting, prompt in _prompts(context):
        if not prompt.strip() or prompt.lstrip().startswith("#"):
            raise InvalidSetting(
                f"{setting} contains {short(prompt)!r}, which trainers skip; a prompt must not be empty or begin "
                "with #.",
                setting=setting,
            )


def _check_options(context: Context) -> None:
    options = context.trainer_options or {}
    without_effect = kohya.ineffective(context)
    if without_effect:
        sentences = "\n".join(sentence for _, sentence in without_effect)
        raise InvalidSetting(sentences, setting=without_effect[0][0])
    for flag in dataset_toml.CAPTION_FLAGS:
        ending = options.get(flag, OFF)
        if len(ending) == 1 and ending != OFF and (not ending[0].startswith(".") or "/" in ending[0]):
            raise InvalidSetting(
                f"trainer_options.{flag} is {short(ending[0])!r}, but must be an ending such as .txt.", setting=flag
            )


def _folders(context: Context) -> list[tuple[str, str]]:
    """The folders of pictures; what has no slash is the name of a stored dataset."""
    setting = "dataset" if context.parts is None else "parts"
    return [(setting, subset.dataset) for subset in subsets.of(context) if "/" in subset.dataset]


def _model_paths(context: Context) -> list[tuple[str, str]]:
    assert context.model is not None
    pairs = msgspec.structs.asdict(context.model)
    return [(f"model.{key}", path) for key, path in pairs.items() if path]


def _prompts(context: Context) -> list[tuple[str, str]]:
    return [("sample_prompts", prompt) for prompt in context.sample_prompts or []]
