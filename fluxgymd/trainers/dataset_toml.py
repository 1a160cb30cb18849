# SPDX-License-Identifier: Apache-2.0
"""dataset.toml, made from a job's settings, for our trainer and for sd-scripts alike. Pure.

The file overrides the command line, and the trainer takes from the command line what the file leaves out. So a key
whose flag the job gives as an option is left out of the file, and the option takes effect
(docs/decisions/0065-options-that-take-effect.md). The settings of a job that an earlier version submitted may be
absent; its file stays the same to the byte (docs/decisions/0102-fields-of-a-job.md).
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from fluxgym.protocol.messages import Context, TriggerPlace
from fluxgymd.snapshots import subsets
from fluxgymd.snapshots.captions import Captions, Lines
from fluxgymd.snapshots.subsets import Subset

OFF = ["false"]
"""The words of an option that takes back a flag which is passed by default."""

CAPTION_FLAGS = ("caption_extention", "caption_extension")
"""The first is sd-scripts' own older spelling, which takes precedence."""
FLAGS = {"batch_size": ("train_batch_size",), "caption_extension": CAPTION_FLAGS}
"""Key -> flags, for keys whose flag is not simply the key's name."""
GENERAL: dict[str, Any] = {"shuffle_caption": False, "caption_extension": ".txt", "keep_tokens": 1}
DATASET = {"batch_size": 1, "keep_tokens": 1}
BUCKETS = ("bucket_no_upscale", "bucket_reso_steps", "min_bucket_reso", "max_bucket_reso")
"""Keys, and flags of the same names, that have no effect without buckets."""
FINE_BELOW = 512
"""Pixels. Below this resolution, steps of 64 are too coarse for the aspect ratio of a photo."""


def render(context: Context, pictures: Sequence[Path]) -> bytes:
    """The bytes of the file. `pictures`: the folder of each subset. tomli_w escapes a quote in a trigger word; an
    apostrophe is escaped here, since the parser of sd-scripts (toml 0.10.2) loses an inline table that has one."""
    tables = [_subset(context, subset, folder) for subset, folder in zip(subsets.of(context), pictures, strict=True)]
    kept = {"keep_tokens": _tags_of_trigger(context)}
    document = {
        "general": _without_options(GENERAL | kept, context),
        "datasets": [
            {
                "resolution": resolution,
                **_without_options(DATASET | kept | _buckets(context, resolution), context),
                "subsets": tables,
            }
            for resolution in resolutions(context)
        ],
    }
    return tomli_w.dumps(document).replace("'", "\\u0027").encode()


def _subset(context: Context, subset: Subset, folder: Path) -> dict[str, Any]:
    table: dict[str, Any] = {"image_dir": str(folder), "num_repeats": subset.repeats}
    caption = subset.fallback(context, captions(context))
    if caption:
        table["class_tokens"] = caption
    if subset.regularisation:
        table["is_reg"] = True
        if _tags_of_trigger(context) > 1:  # these captions have no trigger word that would have to stay in front
            table |= _without_options({"keep_tokens": 1}, context)
    return table


def as_flags() -> dict[str, list[str]]:
    """The values that the file has by default, as flags with their words."""
    values = {FLAGS.get(key, (key,))[-1]: value for key, value in (GENERAL | DATASET).items()}
    return {flag: [str(value)] for flag, value in values.items() if not isinstance(value, bool)}


def resolutions(context: Context) -> list[int]:
    """The resolutions at which each picture is trained; usually one."""
    return context.resolutions or [context.resolution or 0]


def _buckets(context: Context, resolution: int) -> dict[str, Any]:
    """The keys that train each picture at its own aspect ratio. The sides are from half to twice the resolution,
    which are sd-scripts' own 256 and 1024 for 512."""
    if not context.enable_bucket:
        return {} if context.enable_bucket is None else {"enable_bucket": False}
    step = 64 if resolution >= FINE_BELOW and resolution % 64 == 0 else 32
    return {
        "enable_bucket": True,
        "bucket_reso_steps": step,
        "min_bucket_reso": max(resolution // 2, step),
        "max_bucket_reso": resolution * 2,
    }


def _tags_of_trigger(context: Context) -> int:
    """How many tags at the front of a caption stay in place: those of the trigger word, but at least one."""
    trigger = captions(context).trigger
    return 1 + trigger.count(_separator(context)) if trigger else 1


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


def captions(context: Context) -> Captions:
    """How the captions are written when the pictures are copied."""
    given = [words for flag in CAPTION_FLAGS if (words := option(context, flag))]
    ending = given[0][0] if given else str(GENERAL["caption_extension"])
    if context.trigger_place is None:
        return Captions(ending=ending)
    lines = Lines.JOINED if option(context, "enable_wildcard") is None else Lines.EACH
    trigger = (context.trigger_word or "").strip() if context.trigger_place is TriggerPlace.FIRST else ""
    if not trigger:
        return Captions(ending=ending, lines=lines)
    return Captions(ending=ending, lines=lines, trigger=trigger, separator=_separator(context))


def _separator(context: Context) -> str:
    return (option(context, "caption_separator") or [","])[0] or ","


def steps_per_epoch(context: Context, pictures: Sequence[int]) -> int:
    """Steps of one epoch, if no bucket of pictures of one shape leaves a batch partly filled. `pictures`: how many
    each subset has."""
    share = 1 - _number(context, "validation_split", 0.0)
    each = list(zip(subsets.of(context), pictures, strict=True))
    trained = sum(
        math.ceil(count * share) * (subset.repeats or 1) for subset, count in each if not subset.regularisation
    )
    trained += _regularised(
        [(count, subset.repeats or 1) for subset, count in each if subset.regularisation], trained
    )
    batches = -(-trained // _count(context, "train_batch_size")) * len(resolutions(context))
    return -(-batches // (_count(context, "gradient_accumulation_steps") * (context.gpu_count or 1)))


def _regularised(folders: Sequence[tuple[int, int]], wanted: int) -> int:
    """How many regularisation pictures an epoch has beside `wanted` others. `folders`: pictures and repeats of each.

    Both trainers take one after the other with its repeats until there are as many, and then add repeats one by one.
    """
    repeats = itertools.chain.from_iterable(itertools.repeat(times, count) for count, times in folders)
    reached = next((done for done in itertools.accumulate(repeats) if done >= wanted), None)
    if reached is not None:
        return reached
    return wanted if any(count for count, _ in folders) else 0


def _count(context: Context, flag: str) -> int:
    return max(1, int(_number(context, flag, 1.0)))


def _number(context: Context, flag: str, default: float) -> float:
    words = option(context, flag)
    try:
        value = float(words[0]) if words else default
    except ValueError:
        return default  # the trainer refuses it
    return value if math.isfinite(value) else default
