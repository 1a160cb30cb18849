# SPDX-License-Identifier: Apache-2.0
"""dataset.toml with sd-scripts' keys: [general], [[datasets]], [[datasets.subsets]]; the inner level wins.

A key that changes the training in a way that is not there yet is accepted only with the value that leaves it
off; everything else is refused with its line. Paths are relative to the working directory, as in sd-scripts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.errors import TrainerError, nearest
from library.images import Size

# Flux packs 2x2 latents of 8x8 pixels into one token.
PIXELS_PER_TOKEN = 16
OFF = (None, False, 0, 0.0, "")

DATASET_KEYS = ("resolution", "batch_size")
SUBSET_KEYS = ("num_repeats", "class_tokens", "caption_extension")
# sd-scripts' keys whose values do not matter while nothing is shuffled and no bucket is made.
WITHOUT_EFFECT = (
    *("bucket_no_upscale", "bucket_reso_steps", "min_bucket_reso", "max_bucket_reso", "keep_tokens"),
    *("keep_tokens_separator", "caption_separator", "token_warmup_min", "validation_seed", "network_multiplier"),
)
# sd-scripts' keys that are accepted only when they are off.
NOT_THERE_YET = (
    *("enable_bucket", "validation_split", "resize_interpolation", "shuffle_caption", "secondary_separator"),
    *("enable_wildcard", "caption_prefix", "caption_suffix", "color_aug", "flip_aug", "random_crop"),
    *("face_crop_aug_range", "caption_dropout_rate", "caption_dropout_every_n_epochs", "is_reg", "alpha_mask"),
    *("caption_tag_dropout_rate", "token_warmup_step", "custom_attributes", "cache_info", "metadata_file"),
)
KNOWN = {*DATASET_KEYS, *SUBSET_KEYS, *WITHOUT_EFFECT, *NOT_THERE_YET, "image_dir", "subsets"}


@dataclass(frozen=True, kw_only=True)
class SubsetConfig:
    """One folder of pictures."""

    image_dir: Path
    num_repeats: int
    class_tokens: str | None
    caption_extension: str


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Folders that are trained at one size."""

    resolution: Size
    batch_size: int
    subsets: tuple[SubsetConfig, ...]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The file's name and text, to tell where a key stands."""

    path: Path
    text: str

    def error(self, key: str, sentence: str) -> TrainerError:
        name = re.escape(key)
        found = re.search(rf"^[ \t]*(\[+[\w. ]*\b{name}[ \t]*\]|{name}[ \t]*=)", self.text, re.MULTILINE)
        line = f", line {self.text.count(chr(10), 0, found.start()) + 1}" if found else ""
        return TrainerError(f"{self.path}{line}: {sentence}")


def read(path: Path, *, batch_size: int, caption_extension: str) -> DatasetConfig:
    """The dataset that the file describes; the keywords are the command line's values for what it leaves out.

    Raises TrainerError with file, line and what would be right.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError as error:
        raise TrainerError(f"--dataset_config: there is no file {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainerError(f"--dataset_config: {path} is not TOML: {error}") from error
    source = _Source(path=path, text=text)
    for key in document.keys() - {"general", "datasets"}:
        raise source.error(key, f"unknown part {key}{nearest(key, ['general', 'datasets'])}")
    datasets = _tables(document, "datasets", source)
    if len(datasets) != 1:
        raise TrainerError(f"{path}: exactly one [[datasets]] is there yet, this file has {len(datasets)}")
    defaults: dict[str, Any] = {"batch_size": batch_size, "caption_extension": caption_extension}
    return _dataset({**defaults, **_checked(document.get("general", {}), source)}, datasets[0], source)


def _dataset(general: Mapping[str, Any], table: Mapping[str, Any], source: _Source) -> DatasetConfig:
    merged = {**general, **_checked(table, source)}
    subsets = _tables(table, "subsets", source)
    if not subsets:
        raise TrainerError(f"{source.path}: [[datasets]] has no [[datasets.subsets]] with an image_dir")
    return DatasetConfig(
        resolution=_resolution(merged, source),
        batch_size=_whole(merged, "batch_size", 1, source),
        subsets=tuple(_subset({**merged, **_checked(subset, source)}, subset, source) for subset in subsets),
    )


def _subset(merged: Mapping[str, Any], own: Mapping[str, Any], source: _Source) -> SubsetConfig:
    if "image_dir" not in own:
        raise TrainerError(f"{source.path}: a [[datasets.subsets]] has no image_dir")
    image_dir = Path(_text(own, "image_dir", source))
    if not image_dir.is_dir():
        raise source.error("image_dir", f"there is no folder {image_dir}")
    return SubsetConfig(
        image_dir=image_dir,
        num_repeats=_whole(merged, "num_repeats", 1, source),
        class_tokens=_text(merged, "class_tokens", source) if merged.get("class_tokens") is not None else None,
        caption_extension=_text(merged, "caption_extension", source),
    )


def _checked(table: Any, source: _Source) -> Mapping[str, Any]:
    """The table, if each of its keys is known and does nothing that is not there yet."""
    if not isinstance(table, dict):
        raise TrainerError(f"{source.path}: [general] must be a table")
    for key, value in table.items():
        if key not in KNOWN:
            raise source.error(key, f"unknown key {key}{nearest(key, KNOWN)}")
        if key in NOT_THERE_YET and value not in OFF:
            raise source.error(key, f"{key} = {value!r} is not there yet; leave it out")
    return table


def _tables(document: Mapping[str, Any], name: str, source: _Source) -> list[Mapping[str, Any]]:
    tables = document.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise source.error(name, f"{name} must be tables: [[{name}]]")
    return tables


def _resolution(merged: Mapping[str, Any], source: _Source) -> Size:
    value = merged.get("resolution")
    sides = [value, value] if isinstance(value, int) else value
    if not (isinstance(sides, list) and len(sides) == 2 and all(_is_side(side) for side in sides)):
        raise source.error(
            "resolution",
            f"resolution = {value!r} is not a multiple of {PIXELS_PER_TOKEN} or [width, height] of such",
        )
    return Size(width=sides[0], height=sides[1])


def _is_side(value: object) -> bool:
    return isinstance(value, int) and value > 0 and value % PIXELS_PER_TOKEN == 0


def _whole(merged: Mapping[str, Any], key: str, default: int, source: _Source) -> int:
    value = merged.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise source.error(key, f"{key} = {value!r} is not a whole number from 1")
    return value


def _text(merged: Mapping[str, Any], key: str, source: _Source) -> str:
    value = merged[key]
    if not isinstance(value, str):
        raise source.error(key, f"{key} = {value!r} is not a text")
    return value
