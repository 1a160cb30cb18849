# SPDX-License-Identifier: Apache-2.0
"""The keys of dataset.toml: the levels on which each may occur, its valid values, and its default.

Names, levels and defaults are those of sd-scripts (library/config_util.py at 48d368f). A key that this trainer does
not support yet is accepted only with a value that leaves it off.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from library.data.buckets import Size

Level = Literal["general", "datasets", "subsets"]
ANYWHERE: tuple[Level, ...] = ("general", "datasets", "subsets")
OF_DATASETS: tuple[Level, ...] = ("general", "datasets")
OF_SUBSETS: tuple[Level, ...] = ("subsets",)
OFF = (None, False, 0, "")
# An epoch lists each repeat; with more than this, the list alone would fill the memory.
MOST_REPEATS = 1_000_000
# No training uses sides this long, and listing their buckets would take forever.
MOST_PIXELS = 65_536
INTERPOLATIONS = ("lanczos", "lanczos4", "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "box")


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key. `read` returns the checked value, or raises ValueError with what would be right."""

    levels: tuple[Level, ...]
    read: Callable[[Any], Any]
    default: Any = None


def _range(lowest: float, highest: float) -> str:
    if lowest == highest:
        return f"equal to {lowest}"
    return f"from {lowest} to {highest}" if highest < math.inf else f"of at least {lowest}"


def whole(lowest: int, highest: float = math.inf) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise ValueError(f"a whole number {_range(lowest, highest)}")
        return value

    return read


def share(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError("a number from 0 to less than 1")
    return float(value)


def number(lowest: float, highest: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        most = min(highest, sys.float_info.max)  # TOML has integers that are too large for a float
        if not isinstance(value, int | float) or isinstance(value, bool) or not lowest <= value <= most:
            raise ValueError(f"a number {_range(lowest, highest)}")
        return float(value)

    return read


def yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def text(value: Any) -> str:
    """A text without lone surrogates, which JSON can express and no tokenizer accepts."""
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("valid text")
    return value


def separator(value: Any) -> str:
    if not text(value):
        raise ValueError("a text of at least one character")
    return str(value)


def one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return read


def size(value: Any) -> Size:
    """A size from 512, from [512, 768], or from the command line's "512" or "512,768"."""
    if isinstance(value, str):
        value = [int(part) if part.strip().isdecimal() else 0 for part in value.split(",")]
    sides = list(value) if isinstance(value, list | tuple) else [value]
    sides = sides * 2 if len(sides) == 1 else sides
    if len(sides) != 2 or not all(
        isinstance(side, int) and not isinstance(side, bool) and 0 < side <= MOST_PIXELS for side in sides
    ):
        raise ValueError(f"a number of pixels or [width, height], each at most {MOST_PIXELS}")
    return Size(*sides)


def off(value: Any) -> None:
    if value not in OFF:
        raise ValueError("not supported yet; leave it out")


KEYS: dict[str, Key] = {
    "resolution": Key(levels=OF_DATASETS, read=size),
    "batch_size": Key(levels=OF_DATASETS, read=whole(1), default=1),
    "enable_bucket": Key(levels=OF_DATASETS, read=yes_or_no, default=False),
    "bucket_no_upscale": Key(levels=OF_DATASETS, read=yes_or_no, default=False),
    "bucket_reso_steps": Key(levels=OF_DATASETS, read=whole(1, MOST_PIXELS), default=64),
    "min_bucket_reso": Key(levels=OF_DATASETS, read=whole(1, MOST_PIXELS), default=256),
    "max_bucket_reso": Key(levels=OF_DATASETS, read=whole(1, MOST_PIXELS), default=1024),
    "network_multiplier": Key(levels=OF_DATASETS, read=number(1, 1), default=1.0),
    "validation_split": Key(levels=OF_DATASETS, read=share, default=0.0),
    "validation_seed": Key(levels=OF_DATASETS, read=whole(0), default=0),
    "image_dir": Key(levels=OF_SUBSETS, read=text),
    "is_reg": Key(levels=OF_SUBSETS, read=yes_or_no, default=False),
    "alpha_mask": Key(levels=OF_SUBSETS, read=yes_or_no, default=False),
    "metadata_file": Key(levels=OF_SUBSETS, read=off),
    "conditioning_data_dir": Key(levels=OF_SUBSETS, read=off),
    "num_repeats": Key(levels=ANYWHERE, read=whole(0, MOST_REPEATS), default=1),
    "class_tokens": Key(levels=ANYWHERE, read=text),
    "caption_extension": Key(levels=ANYWHERE, read=text, default=".caption"),
    "cache_info": Key(levels=ANYWHERE, read=yes_or_no, default=False),
    "resize_interpolation": Key(levels=ANYWHERE, read=one_of(*INTERPOLATIONS)),
    "flip_aug": Key(levels=ANYWHERE, read=yes_or_no, default=False),
    "color_aug": Key(levels=ANYWHERE, read=off),
    "random_crop": Key(levels=ANYWHERE, read=off),
    "face_crop_aug_range": Key(levels=ANYWHERE, read=off),
    "custom_attributes": Key(levels=ANYWHERE, read=off),
    "shuffle_caption": Key(levels=ANYWHERE, read=yes_or_no, default=False),
    "caption_separator": Key(levels=ANYWHERE, read=separator, default=","),
    "keep_tokens": Key(levels=ANYWHERE, read=whole(0), default=0),
    "keep_tokens_separator": Key(levels=ANYWHERE, read=text, default=""),
    "secondary_separator": Key(levels=ANYWHERE, read=text, default=""),
    "enable_wildcard": Key(levels=ANYWHERE, read=yes_or_no, default=False),
    "caption_prefix": Key(levels=ANYWHERE, read=text, default=""),
    "caption_suffix": Key(levels=ANYWHERE, read=text, default=""),
    "caption_dropout_rate": Key(levels=ANYWHERE, read=number(0, 1), default=0.0),
    "caption_dropout_every_n_epochs": Key(levels=ANYWHERE, read=whole(0), default=0),
    "caption_tag_dropout_rate": Key(levels=ANYWHERE, read=number(0, 1), default=0.0),
    "token_warmup_min": Key(levels=ANYWHERE, read=whole(0), default=1),
    "token_warmup_step": Key(levels=ANYWHERE, read=number(0, math.inf), default=0.0),
}
