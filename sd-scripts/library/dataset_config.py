# SPDX-License-Identifier: Apache-2.0
"""dataset.toml: [general], [[datasets]], [[datasets.subsets]]; the inner level wins, then the command line.

The same as JSON is taken too. Paths are relative to the working directory, as in sd-scripts. Whatever is wrong is
refused with its line. `dataset_keys.py` has the keys.
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

from library import buckets
from library.buckets import BucketRules
from library.captions import CaptionRules
from library.dataset_keys import KEYS, Level
from library.errors import TrainerError, nearest

BUCKET_KEYS = tuple(field.name for field in dataclasses.fields(BucketRules))
CAPTION_KEYS = tuple(field.name for field in dataclasses.fields(CaptionRules))


@dataclass(frozen=True, kw_only=True)
class SubsetConfig:
    """One folder of pictures. Two are the same subset if all of their keys are."""

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
    """Folders that are trained by the same bucket rules. `validation_split` of each is validated instead."""

    buckets: BucketRules
    batch_size: int
    subsets: tuple[SubsetConfig, ...]
    resize_interpolation: str | None = None
    validation_split: float = 0.0
    validation_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The file's name and text, to tell where a key stands. Its text is empty for the command line."""

    path: str
    text: str

    def error(self, key: str, sentence: str) -> TrainerError:
        name = re.escape(key)
        found = re.search(rf"^[ \t]*(\[+[\w. ]*\b{name}[ \t]*\]|\"?{name}\"?[ \t]*[=:])", self.text, re.MULTILINE)
        line = f", line {self.text.count(chr(10), 0, found.start()) + 1}" if found else ""
        return TrainerError(f"{self.path}{line}: {sentence}")


def read(path: Path, *, defaults: Mapping[str, Any]) -> tuple[DatasetConfig, ...]:
    """The datasets that the file describes; `defaults` are the command line's values for what it leaves out.

    Raises TrainerError with file, line and what would be right.
    """
    document, source = _document(path)
    for key in document.keys() - {"general", "datasets"}:
        raise source.error(key, f"unknown part {key}{nearest(key, ['general', 'datasets'])}")
    tables = _tables(document, "datasets", source)
    if not tables:
        raise TrainerError(f"{path}: there is no [[datasets]] with a resolution and [[datasets.subsets]]")
    general = dict(_checked({}, defaults, "general", source)) | _checked(
        document.get("general", {}), {}, "general", source
    )
    return tuple(_dataset(general, table, source) for table in tables)


def of_folders(
    folder: Path, regularisation: Path | None, *, defaults: Mapping[str, Any]
) -> tuple[DatasetConfig, ...]:
    """The one dataset of --train_data_dir: its folders `10_a cat` are 10 repeats of pictures of "a cat".

    Raises TrainerError where there is no such folder.
    """
    source = _Source(path="--train_data_dir", text="")
    subsets = [
        {"image_dir": str(path), "num_repeats": int(repeats), "class_tokens": tokens, "is_reg": is_reg}
        for base, is_reg in ((folder, False), (regularisation, True))
        for path in (sorted(base.iterdir()) if base and base.is_dir() else ())
        for repeats, _, tokens in [path.name.partition("_")]
        if path.is_dir() and repeats.isdecimal() and int(repeats) > 0
    ]
    if not any(not subset["is_reg"] for subset in subsets):
        raise TrainerError(
            f"--train_data_dir: {folder} has no folder named like 10_a cat: repeats, then what it shows"
        )
    general = _checked({}, defaults, "general", source)
    return (_dataset(general, {"subsets": subsets}, source),)


def _document(path: Path) -> tuple[dict[str, Any], _Source]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        document = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise TrainerError(f"--dataset_config: there is no file {path}") from error
    except (ValueError, RecursionError) as error:  # what tomllib, json and UTF-8 raise are ValueErrors
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise TrainerError(f"--dataset_config: {path} is not {kind}: {error}") from error
    if not isinstance(document, dict):
        raise TrainerError(f"--dataset_config: {path} must have the parts general and datasets")
    return document, _Source(path=str(path), text=text)


def _dataset(general: Mapping[str, Any], table: Mapping[str, Any], source: _Source) -> DatasetConfig:
    merged = {**general, **_checked(table, {}, "datasets", source)}
    if merged.get("resolution") is None:
        raise source.error("datasets", "a dataset has no resolution: a number of pixels or [width, height]")
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
        # The same folder with the same keys counts once, and no repeats are none at all, as in sd-scripts.
        subsets=tuple(subset for subset in dict.fromkeys(made) if subset.num_repeats),
        **{key: _value(merged, key) for key in ("resize_interpolation", "validation_split", "validation_seed")},
    )


def _subset(merged: Mapping[str, Any], source: _Source) -> SubsetConfig:
    if not merged.get("image_dir"):
        raise TrainerError(f"{source.path}: a [[datasets.subsets]] has no image_dir")
    image_dir = Path(merged["image_dir"])
    if not image_dir.is_dir():
        raise source.error("image_dir", f"there is no folder {image_dir}")
    own = ("num_repeats", "class_tokens", "caption_extension", "is_reg", "alpha_mask", "flip_aug")
    return SubsetConfig(
        image_dir=image_dir,
        **{key: _value(merged, key) for key in (*own, "resize_interpolation")},
        captions=CaptionRules(**{key: _value(merged, key) for key in CAPTION_KEYS}),
    )


def _value(merged: Mapping[str, Any], key: str) -> Any:
    return merged[key] if merged.get(key) is not None else KEYS[key].default


def _checked(table: Any, defaults: Mapping[str, Any], level: Level, source: _Source) -> dict[str, Any]:
    """The values of one table, over `defaults`. Each key must be known, stand where it may and hold what it may."""
    if not isinstance(table, dict):
        raise TrainerError(f"{source.path}: [{level}] must be a table")
    values: dict[str, Any] = {}
    for key, value in {**defaults, **table}.items():
        if key == "subsets" and level == "datasets":
            continue
        if key not in KEYS:
            raise source.error(key, f"unknown key {key}{nearest(key, KEYS)}")
        if key in table and level not in KEYS[key].levels:
            raise source.error(key, f"{key} belongs into {_place(KEYS[key].levels[-1])}")
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
