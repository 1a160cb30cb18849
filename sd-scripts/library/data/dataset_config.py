# SPDX-License-Identifier: Apache-2.0
"""Reads dataset.toml: [general], [[datasets]], [[datasets.subsets]]. Inner levels override outer ones, and all of
them override the command line.

JSON of the same structure works too. Paths are relative to the working directory, as in sd-scripts. An error names
the line, where there is one. `dataset_keys.py` has the keys.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.data import buckets
from library.data.buckets import BucketRules
from library.data.captions import CaptionRules
from library.data.dataset_keys import KEYS, Level
from library.errors import MissingFile, TrainerError, nearest
from library.findings import note

BUCKET_KEYS = tuple(field.name for field in dataclasses.fields(BucketRules))
CAPTION_KEYS = tuple(field.name for field in dataclasses.fields(CaptionRules))


@dataclass(frozen=True, kw_only=True)
class SubsetConfig:
    """One folder of pictures. Two subsets with equal keys are the same."""

    image_dir: Path
    num_repeats: int = 1
    class_tokens: str | None = None
    caption_extension: str = ".caption"
    is_reg: bool = False
    alpha_mask: bool = False
    flip_aug: bool = False
    resize_interpolation: str | None = None
    captions: CaptionRules = dataclasses.field(default_factory=CaptionRules)


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Folders with the same bucket rules. `validation_split`: the share of pictures to validate instead of train."""

    buckets: BucketRules
    batch_size: int
    subsets: tuple[SubsetConfig, ...]
    resize_interpolation: str | None = None
    validation_split: float = 0.0
    validation_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The file's name and text, to find the line of a key. For the command line, the text is empty."""

    path: str
    text: str

    def error(self, key: str, sentence: str) -> TrainerError:
        return TrainerError(f"{self.place(key)}: {sentence}")

    def place(self, key: str) -> str:
        """The file, and the line of the key if the file has it."""
        name = re.escape(key)
        found = re.search(rf"^[ \t]*(\[+[\w. ]*\b{name}[ \t]*\]|\"?{name}\"?[ \t]*[=:])", self.text, re.MULTILINE)
        line = f", line {self.text.count(chr(10), 0, found.start()) + 1}" if found else ""
        return f"{self.path}{line}"


COMMAND_LINE = _Source(path="the command line", text="")


def read(path: Path, *, defaults: Mapping[str, Any]) -> tuple[DatasetConfig, ...]:
    """The datasets that the file describes. `defaults`: the command line's values, for keys that the file lacks.

    Raises TrainerError with the file, the line and what would be right.
    """
    document, source = _document(path)
    for key in document.keys() - {"general", "datasets"}:
        raise source.error(key, f"unknown section {key}{nearest(key, ['general', 'datasets'])}")
    tables = _tables(document, "datasets", source)
    if not tables:
        raise TrainerError(f"{path} has no [[datasets]] with a resolution and [[datasets.subsets]]")
    general = _checked({}, defaults, "general", COMMAND_LINE) | _checked(
        document.get("general", {}), {}, "general", source
    )
    return tuple(_dataset(general, table, source) for table in tables)


def keys_for_all(path: Path) -> frozenset[str]:
    """The keys that the file sets for every folder, so that the command line's values have no effect."""
    document, source = _document(path)
    general = set(document.get("general") or {})
    of_subsets = []
    for table in _tables(document, "datasets", source):
        here = general | set(table)
        of_subsets += [here | set(subset) for subset in _tables(table, "subsets", source)]
    return frozenset(set.intersection(*of_subsets)) if of_subsets else frozenset()


def of_folders(
    folder: Path, regularisation: Path | None, *, defaults: Mapping[str, Any]
) -> tuple[DatasetConfig, ...]:
    """The single dataset of --train_data_dir. A folder `10_a cat` has 10 repeats and the class_tokens "a cat".

    Raises TrainerError if no folder is named like this.
    """
    source = COMMAND_LINE
    for flag, base in (("train_data_dir", folder), ("reg_data_dir", regularisation)):
        note(base)
        if base is not None and not base.is_dir():
            raise MissingFile(f"--{flag}: there is no folder {base}", base)
    subsets = [
        {"image_dir": str(path), "num_repeats": int(repeats), "class_tokens": tokens, "is_reg": is_reg}
        for base, is_reg in ((folder, False), (regularisation, True))
        for path in (sorted(base.iterdir()) if base is not None else ())
        for repeats, _, tokens in [path.name.partition("_")]
        if path.is_dir() and repeats.isdecimal() and int(repeats) > 0
    ]
    if not any(not subset["is_reg"] for subset in subsets):
        raise TrainerError(
            f"--train_data_dir: {folder} has no subfolder named like `10_a cat`: repeats, then class tokens"
        )
    general = _checked({}, defaults, "general", source)
    return (_dataset(general, {"subsets": subsets}, source),)


def _document(path: Path) -> tuple[dict[str, Any], _Source]:
    note(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        document = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFile(f"--dataset_config: there is no file {path}", path) from error
    except (ValueError, RecursionError) as error:  # tomllib, json and UTF-8 decoding raise ValueErrors
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise TrainerError(f"--dataset_config: {path} is not {kind}: {error}") from error
    if not isinstance(document, dict):
        raise TrainerError(f"--dataset_config: {path} must have the sections general and datasets")
    return document, _Source(path=str(path), text=text)


def _dataset(general: Mapping[str, Any], table: Mapping[str, Any], source: _Source) -> DatasetConfig:
    merged = {**general, **_checked(table, {}, "datasets", source)}
    if merged.get("resolution") is None:
        raise source.error("datasets", "a dataset has no resolution; set it to a number of pixels or [width, height]")
    rules = BucketRules(**{key: _value(merged, key) for key in BUCKET_KEYS})
    if found := buckets.wrong(rules):
        raise source.error(*found)
    subsets = _tables(table, "subsets", source)
    if not subsets:
        raise TrainerError(f"{source.path}: [[datasets]] has no [[datasets.subsets]] with an image_dir")
    made = [_subset({**merged, **_checked(subset, {}, "subsets", source)}, source) for subset in subsets]
    return DatasetConfig(
        buckets=rules,
        batch_size=_value(merged, "batch_size"),
        # As in sd-scripts, a folder that is listed twice with the same keys counts once, and one with num_repeats = 0
        # is left out.
        subsets=tuple(subset for subset in dict.fromkeys(made) if subset.num_repeats),
        **{key: _value(merged, key) for key in ("resize_interpolation", "validation_split", "validation_seed")},
    )


def _subset(merged: Mapping[str, Any], source: _Source) -> SubsetConfig:
    if not merged.get("image_dir"):
        raise TrainerError(f"{source.path}: a [[datasets.subsets]] has no image_dir")
    image_dir = Path(merged["image_dir"])
    if not image_dir.is_dir():
        raise MissingFile(f"{source.place('image_dir')}: there is no folder {image_dir}", image_dir)
    own = ("num_repeats", "class_tokens", "caption_extension", "is_reg", "alpha_mask", "flip_aug")
    return SubsetConfig(
        image_dir=image_dir,
        **{key: _value(merged, key) for key in (*own, "resize_interpolation")},
        captions=CaptionRules(**{key: _value(merged, key) for key in CAPTION_KEYS}),
    )


def _value(merged: Mapping[str, Any], key: str) -> Any:
    return merged[key] if merged.get(key) is not None else KEYS[key].default


def _checked(table: Any, defaults: Mapping[str, Any], level: Level, source: _Source) -> dict[str, Any]:
    """The values of one table, on top of `defaults`. Raises TrainerError if a key is unknown, on the wrong level, or
    has an invalid value."""
    if not isinstance(table, dict):
        raise TrainerError(f"{source.path}: [{level}] must be a table")
    values: dict[str, Any] = {}
    for key, value in {**defaults, **table}.items():
        if key == "subsets" and level == "datasets":
            continue
        if key not in KEYS:
            raise source.error(key, f"unknown key {key}{nearest(key, KEYS)}")
        if key in table and level not in KEYS[key].levels:
            raise source.error(key, f"{key} belongs in {_place(KEYS[key].levels[-1])}")
        try:
            values[key] = KEYS[key].read(value)
        except ValueError as error:
            is_not = "is" if str(error).startswith("not ") else "is not"
            raise source.error(key, f"{key} = {value!r} {is_not} {error}") from error
    return values


def _place(level: Level) -> str:
    return {"general": "[general]", "datasets": "[[datasets]]", "subsets": "[[datasets.subsets]]"}[level]


def _tables(document: Mapping[str, Any], name: str, source: _Source) -> list[Mapping[str, Any]]:
    tables = document.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise source.error(name, f"{name} must be tables: [[{name}]]")
    return tables
