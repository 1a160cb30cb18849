# SPDX-License-Identifier: Apache-2.0
"""dataset.toml, made from a job's settings, for our trainer and for sd-scripts alike. Pure.

The file overrides the command line, and the trainer takes from the command line what the file leaves out. So a key
whose flag the job gives as an option is left out of the file, and the option takes effect
(docs/decisions/0065-options-that-take-effect.md).
"""

import math
from pathlib import Path
from typing import Any

import tomli_w

from fluxgym.messages import Context

OFF = ["false"]
"""The words of an option that takes back a flag which is passed by default."""

CAPTION_FLAGS = ("caption_extention", "caption_extension")
"""The first is sd-scripts' own older spelling, which takes precedence."""
FLAGS = {"batch_size": ("train_batch_size",), "caption_extension": CAPTION_FLAGS}
"""Key -> flags, for keys whose flag is not simply the key's name."""
GENERAL = {"shuffle_caption": False, "caption_extension": ".txt", "keep_tokens": 1}
DATASET = {"batch_size": 1, "keep_tokens": 1}


def render(context: Context, dataset: Path) -> bytes:
    """The bytes of the file. `dataset`: the folder of the pictures. tomli_w escapes a quote in a trigger word."""
    subset: dict[str, Any] = {"image_dir": str(dataset), "num_repeats": context.repeats}
    if context.trigger_word:
        subset["class_tokens"] = context.trigger_word
    document = {
        "general": _without_options(GENERAL, context),
        "datasets": [{"resolution": context.resolution, **_without_options(DATASET, context), "subsets": [subset]}],
    }
    return tomli_w.dumps(document).encode()


def as_flags() -> dict[str, list[str]]:
    """The values that the file has by default, as flags with their words."""
    values = {FLAGS.get(key, (key,))[-1]: value for key, value in (GENERAL | DATASET).items()}
    return {flag: [str(value)] for flag, value in values.items() if not isinstance(value, bool)}


def _without_options(values: dict[str, Any], context: Context) -> dict[str, Any]:
    return {
        key: value
        for key, value in values.items()
        if all(option(context, flag) is None for flag in FLAGS.get(key, (key,)))
    }


def option(context: Context, flag: str) -> list[str] | None:
    """The words that the job gives with a flag; None if it does not give the flag, or takes it back."""
    words = (context.trainer_options or {}).get(flag)
    return None if words == OFF else words


def captions(context: Context) -> str:
    """The ending of the captions' names, such as .txt."""
    given = [words for flag in CAPTION_FLAGS if (words := option(context, flag))]
    return given[0][0] if given else str(GENERAL["caption_extension"])


def steps_per_epoch(context: Context, pictures: int) -> int:
    """Steps of one epoch, if no bucket of pictures of one shape leaves a batch partly filled."""
    kept = math.ceil(pictures * (1 - _number(context, "validation_split", 0.0)))
    batches = -(-kept * (context.repeats or 1) // _count(context, "train_batch_size"))
    return -(-batches // (_count(context, "gradient_accumulation_steps") * (context.gpu_count or 1)))


def _count(context: Context, flag: str) -> int:
    return max(1, int(_number(context, flag, 1.0)))


def _number(context: Context, flag: str, default: float) -> float:
    words = option(context, flag)
    try:
        value = float(words[0]) if words else default
    except ValueError:
        return default  # the trainer refuses it
    return value if math.isfinite(value) else default
