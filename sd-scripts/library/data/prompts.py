# SPDX-License-Identifier: Apache-2.0
"""Prompt files: what each sample shows. Keys, options and defaults are sd-scripts' (its load_prompts, 48d368f).

A .txt file has one prompt per line, with ` --w 512 --h 512 --d SEED --s STEPS --g GUIDANCE --l CFG --n NEGATIVE`; a
.toml file has [prompt] and a [[prompt.subset]] for each prompt; a .json file has a list of objects or of such lines.
Keys that sd-scripts accepts but never uses for Flux give a warning; unknown keys are refused.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.data import dataset_keys
from library.errors import Gathered, MissingFile, TrainerError, nearest
from library.findings import note, warn

SIDE_STEP, SMALLEST_SIDE = 16, 64
# A picture of absurd size needs more memory than the machine has, and on a CPU this would kill the training.
LARGEST_SIDE = 4096
MOST_STEPS = 1000
# How many characters of a prompt a message quotes at most.
LONGEST_QUOTE = 60
# JSON and TOML allow whole numbers that are too large for a float.
LARGEST_NUMBER = sys.float_info.max


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One sample to make. `width` and `height` are multiples of 16, at least 64, in pixels. `seed`: None lets the
    trainer choose."""

    text: str
    width: int = 512
    height: int = 512
    seed: int | None = None
    steps: int = 20
    guidance: float = 3.5
    cfg: float = 1.0
    negative: str = ""


def read(path: Path) -> list[Prompt]:
    """The prompts of a .txt, .toml or .json file, in their order. Raises TrainerError with the place of every
    problem."""
    note(path)
    readers = {".txt": _of_lines, ".toml": _of_toml, ".json": _of_json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise TrainerError(f"--sample_prompts: {path.name} must end in one of {', '.join(readers)}")
    try:
        entries = reader(path.read_text(encoding="utf-8-sig"), str(path))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFile(f"--sample_prompts: there is no file {path}", path) from error
    except UnicodeDecodeError as error:
        raise TrainerError(f"--sample_prompts: {path} is not UTF-8 text") from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and JSONDecodeError are ValueErrors
        raise TrainerError(f"--sample_prompts: {path} is not {path.suffix[1:].upper()}: {error}") from error
    if not entries:
        raise TrainerError(f"--sample_prompts: {path} has no prompts")
    gathered = Gathered()
    prompts = []
    for where, values in entries:
        with gathered:
            if isinstance(values, str):
                prompts.append(_prompt(_line(values, where), f"{where}, {_quoted(values)}", named=OPTION_OF_KEY))
            else:
                prompts.append(_prompt(values, where))
    gathered.throw()
    return prompts


# ---- the three kinds of files: the place and the content of each prompt ------------------------------------------

Entry = tuple[str, Mapping[str, Any] | str]
"""(place, values). A line stays text until `read` parses it, so that every wrong line is reported."""


def _of_lines(text: str, path: str) -> list[Entry]:
    """One prompt per line, without empty lines and `#` comments."""
    lines = enumerate((line.strip() for line in text.splitlines()), start=1)
    return [(f"{path}, line {number}", line) for number, line in lines if line and not line.startswith("#")]


def _of_toml(text: str, path: str) -> list[Entry]:
    """One prompt per [[prompt.subset]]; the keys of [prompt] are its defaults."""
    document = tomllib.loads(text)
    common = document.get("prompt")
    subsets = common.get("subset") if isinstance(common, dict) else None
    if not isinstance(common, dict) or not isinstance(subsets, list):
        raise TrainerError(f"--sample_prompts: {path} must have [prompt] and a [[prompt.subset]] for each prompt")
    if others := document.keys() - {"prompt"}:
        raise TrainerError(f"{path}: unknown section {min(others)}; only [prompt] and [[prompt.subset]] are allowed")
    shared = {key: value for key, value in common.items() if key != "subset"}
    return [
        (where, shared | _table(subset, where))
        for number, subset in enumerate(subsets, start=1)
        for where in [f"{path}, [[prompt.subset]] number {number}"]
    ]


def _of_json(text: str, path: str) -> list[Entry]:
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise TrainerError(f"--sample_prompts: {path} must be a list of objects, one for each prompt")
    return [
        (where, entry if isinstance(entry, str) else _table(entry, where))
        for number, entry in enumerate(entries, start=1)
        for where in [f"{path}, prompt {number}"]
    ]


def _table(entry: Any, where: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise TrainerError(f"{where} must be a table with keys such as prompt, width and seed")
    return entry


def _line(line: str, where: str) -> dict[str, str]:
    """The text and the options of a line, by the names of the keys."""
    text, *parts = re.split(r"\s--(?=[A-Za-z]+(?:\s|$))", line)
    values = {"prompt": text.strip()}
    for part in parts:
        name, _, value = part.strip().partition(" ")
        if name.lower() not in OPTIONS:
            known = " ".join(f"--{option}" for option, key in OPTIONS.items() if key not in UNUSED)
            raise TrainerError(f"{where}, {_quoted(line)}: unknown option --{name}; known options are {known}")
        key = OPTIONS[name.lower()]
        if key not in MAY_BE_EMPTY and not value.strip():
            raise TrainerError(f"{where}, {_quoted(line)}: --{name} has no value; give it one, or leave it out")
        values[key] = value.strip()
    return values


def _quoted(line: str) -> str:
    """A prompt as quoted in a message: only the beginning, if it is long."""
    return repr(line if len(line) <= LONGEST_QUOTE else f"{line[: LONGEST_QUOTE - 3]}...")


# ---- what each key may hold ----------------------------------------------------------------------------------------


def _whole(lowest: int, highest: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"\d+", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise ValueError(f"a whole number from {lowest} to {highest}")
        return value

    return read


def _side(value: Any) -> int:
    pixels = _whole(0, LARGEST_SIDE)(value)
    return max(SMALLEST_SIDE, pixels // SIDE_STEP * SIDE_STEP)


def _number(value: Any) -> float:
    if isinstance(value, str) and re.fullmatch(r"-?\d*\.?\d+|\d+\.", value):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= LARGEST_NUMBER:
        with_point = value.replace(",", ".") if isinstance(value, str) else ""
        raise ValueError(f"a number; write {with_point}" if re.fullmatch(r"-?\d+\.\d+", with_point) else "a number")
    return float(value)


KEYS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "prompt": ("text", dataset_keys.text),
    "negative_prompt": ("negative", dataset_keys.text),
    "width": ("width", _side),
    "height": ("height", _side),
    "seed": ("seed", _whole(0, 2**63 - 1)),
    "sample_steps": ("steps", _whole(1, MOST_STEPS)),
    "guidance_scale": ("guidance", _number),
    "scale": ("cfg", _number),
}
OPTIONS = {
    "w": "width",
    "h": "height",
    "d": "seed",
    "s": "sample_steps",
    "g": "guidance_scale",
    "l": "scale",
    "n": "negative_prompt",
    "ss": "sample_sampler",
    "cn": "controlnet_image",
    "ctr": "cfg_trunc_ratio",
    "rcfg": "renorm_cfg",
    "fs": "flow_shift",
}
MAY_BE_EMPTY = ("negative_prompt",)
UNUSED = ("sample_sampler", "controlnet_image", "cfg_trunc_ratio", "renorm_cfg", "flow_shift")
"""Keys for sd-scripts' other trainers: its Flux trainer reads them, but always samples with Euler's method along
Flux's own schedule."""


OPTION_OF_KEY = {key: f"--{option}" for option, key in OPTIONS.items()}


def _prompt(values: Mapping[str, Any], where: str, *, named: Mapping[str, str] | None = None) -> Prompt:
    """The prompt with these values by key. `named`: what messages call a key, if not by its name."""
    fields: dict[str, Any] = {}
    for key, value in values.items():
        if key in UNUSED:
            called = named[key] if named else key
            warn(f"{where}: {called} has no effect: Flux is always sampled with Euler's method")
            continue
        if key not in KEYS:
            raise TrainerError(f"{where}: unknown key {key}{nearest(key, KEYS)}")
        field, reader = KEYS[key]
        try:
            fields[field] = reader(value)
        except ValueError as error:
            said = f"{named[key]} {value}" if named and key in named else f"{key} = {value!r}"
            raise TrainerError(f"{where}: {said} is not {error}") from error
    if "text" not in fields:
        raise TrainerError(f"{where}: prompt is missing; write prompt = '' for an empty one")
    return Prompt(**fields)
