# SPDX-License-Identifier: Apache-2.0
"""dataset.toml of the older FluxGym: where the pictures are, and whether a job can express everything in the file.

The format is sd-scripts': an inner level overrides an outer one. A job has one folder of pictures, batches of one and
captions in .txt (trainers/dataset_toml.py). Anything else is reported, not ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fluxgym import toml

UPSTREAM = {"batch_size": 1, "shuffle_caption": False, "caption_extension": ".caption", "num_repeats": 1}
"""sd-scripts' defaults."""
OURS = {"batch_size": 1, "shuffle_caption": False, "caption_extension": ".txt"}
"""The values in an imported job's dataset.toml."""
TAKEN = ("resolution", "image_dir", "class_tokens", "num_repeats", "enable_bucket")
BUCKETS: Mapping[str, Any] = {
    "bucket_no_upscale": False,
    "bucket_reso_steps": 64,
    "min_bucket_reso": 256,
    "max_bucket_reso": 1024,
}
"""Keys that matter with enable_bucket, and sd-scripts' defaults, which are not those of a job."""
WITHOUT_EFFECT = ("keep_tokens",)  # it only concerns shuffled captions


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFile:
    """What the file says. A value is None if the file does not say."""

    pictures: str | None = None
    trigger_word: str | None = None
    repeats: object = None
    resolution: object = None
    enable_bucket: bool | None = None
    bucket_options: Mapping[str, list[str]] = field(default_factory=dict)
    """If the file turns buckets on: how, as flags of the trainer."""
    beyond: tuple[str, ...] = ()
    """What a job cannot express, such as `batch_size = 4`."""


def read(data: bytes) -> DatasetFile | None:
    """Parses the file. None if it is not TOML: the older FluxGym does not escape an apostrophe in a trigger word."""
    try:
        document = toml.parse(data.decode())
    except ValueError:  # NotToml and UnicodeDecodeError are ValueErrors
        return None
    datasets = _tables(document.get("datasets"))
    subsets = _tables(datasets[0].get("subsets")) if datasets else []
    beyond = []
    if sum(len(_tables(dataset.get("subsets"))) for dataset in datasets) > 1:
        beyond.append("more than one folder of pictures")
    general = document.get("general")
    levels = [general if isinstance(general, dict) else {}, *datasets[:1], *subsets[:1]]
    said: dict[str, Any] = {key: value for level in levels for key, value in level.items() if key != "subsets"}
    buckets = BUCKETS if said.get("enable_bucket") is True else {}
    beyond += _beyond({key: value for key, value in (UPSTREAM | said).items() if key not in buckets})
    return DatasetFile(
        pictures=_text(said.get("image_dir")),
        trigger_word=_text(said.get("class_tokens")),
        repeats=said.get("num_repeats", 1),
        resolution=_square(said.get("resolution")),
        enable_bucket=bucket if isinstance(bucket := said.get("enable_bucket"), bool) else None,
        bucket_options=_flags({key: said.get(key, default) for key, default in buckets.items()}),
        beyond=tuple(beyond),
    )


def _tables(value: object) -> list[dict[str, Any]]:
    return [table for table in value if isinstance(table, dict)] if isinstance(value, list) else []


def _beyond(said: Mapping[str, Any]) -> list[str]:
    found = []
    for key, value in said.items():
        if key in TAKEN or key in WITHOUT_EFFECT:
            continue
        same = value == OURS[key] if key in OURS else value in (False, 0, None, "")
        if not same:
            found.append(f"{key} = {str(value).lower() if isinstance(value, bool) else value}")
    return found


def _flags(values: Mapping[str, object]) -> dict[str, list[str]]:
    return {key: [] if value is True else [str(value)] for key, value in values.items() if value is not False}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _square(resolution: object) -> object:
    """One number for a square; anything else is returned as it is, and is refused as a resolution later."""
    if isinstance(resolution, list) and len(resolution) == 2 and resolution[0] == resolution[1]:
        return resolution[0]
    return resolution
