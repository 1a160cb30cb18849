# SPDX-License-Identifier: Apache-2.0
"""The metadata of a LoRA about its pictures, as sd-scripts writes them: `ss_datasets` and related keys.

If the pictures come from --train_data_dir instead of a dataset.toml, there are keys such as `ss_bucket_info` for the
single dataset instead. Recorded examples of both are in tests/sd_scripts/upstream/sd-scripts-metadata.json.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable

import numpy

from library.data.dataset import Dataset, Picture
from library.data.dataset_config import DatasetConfig, SubsetConfig
from library.options.options import Options
from library.options.plan import Plan

Frequencies = dict[str, dict[str, int]]


def build(options: Options, dataset: Dataset, validated: Dataset | None, plan: Plan) -> dict[str, str]:
    """All of these keys. `dataset` has the pictures that are trained, `validated` those that are validated."""
    counts = {
        "ss_num_train_images": dataset.count(is_reg=False),
        "ss_num_validation_images": len(validated.pictures) if validated else 0,
        "ss_num_reg_images": dataset.count(is_reg=True),
        "ss_num_batches_per_epoch": plan.batches_per_process,
    }
    described = _of_many(dataset) if options.dataset_config is not None else _of_one(options, dataset, plan)
    return {key: str(value) for key, value in counts.items()} | described


def _of_one(options: Options, dataset: Dataset, plan: Plan) -> dict[str, str]:
    """The keys for the single dataset of --train_data_dir."""
    (config,) = dataset.configs
    described, rules = _dataset(dataset, 0), config.buckets
    folders: dict[bool, dict[str, object]] = {False: {}, True: {}}
    for subset in config.subsets:
        counted = {"n_repeats": subset.num_repeats, "img_count": len(_of(dataset, 0, subset))}
        folders[subset.is_reg][subset.image_dir.name] = counted
    written = {
        "batch_size_per_device": config.batch_size,
        "total_batch_size": config.batch_size * plan.processes * options.gradient_accumulation_steps,
        "resolution": (rules.resolution.width, rules.resolution.height),
        "color_aug": False,
        "flip_aug": options.flip_aug,
        "random_crop": False,
        "shuffle_caption": options.shuffle_caption,
        "enable_bucket": rules.enable_bucket,
        "bucket_no_upscale": rules.bucket_no_upscale,
        "min_bucket_reso": described["min_bucket_reso"],
        "max_bucket_reso": described["max_bucket_reso"],
        "keep_tokens": options.keep_tokens,
    }
    listed = {
        "dataset_dirs": folders[False],
        "reg_dataset_dirs": folders[True],
        "tag_frequency": described["tag_frequency"],
        "bucket_info": described["bucket_info"],
    }
    return {f"ss_{key}": str(value) for key, value in written.items()} | {
        f"ss_{key}": json.dumps(value) for key, value in listed.items()
    }


def _of_many(dataset: Dataset) -> dict[str, str]:
    """The keys for the datasets of a dataset.toml.

    A folder's tags count once, even if two datasets have it. Two folders with the same name become `img` and
    `img (2)`.
    """
    described = [_dataset(dataset, index) for index in range(len(dataset.configs))]
    frequencies: Frequencies = {}
    folders: dict[str, dict[str, int]] = {}
    for index, config in enumerate(dataset.configs):
        for folder, counts in _frequencies(_of(dataset, index)).items():
            frequencies.setdefault(folder, counts)
        for subset in config.subsets:
            if not subset.is_reg:
                counted = {"n_repeats": subset.num_repeats, "img_count": len(_of(dataset, index, subset))}
                folders[_free_name(subset.image_dir.name, folders)] = counted
    return {
        "ss_tag_frequency": json.dumps(frequencies),
        "ss_dataset_dirs": json.dumps(folders),
        "ss_datasets": json.dumps(described),
    }


def _dataset(dataset: Dataset, index: int) -> dict[str, object]:
    config = dataset.configs[index]
    rules = config.buckets
    return {
        "is_dreambooth": True,
        "batch_size_per_device": config.batch_size,
        "num_train_images": dataset.count(is_reg=False, dataset=index),
        "num_reg_images": dataset.count(is_reg=True, dataset=index),
        "resolution": [rules.resolution.width, rules.resolution.height],
        "enable_bucket": rules.enable_bucket,
        "min_bucket_reso": rules.smallest_side if rules.enable_bucket else None,
        "max_bucket_reso": rules.largest_side if rules.enable_bucket else None,
        "tag_frequency": _frequencies(_of(dataset, index)),
        "bucket_info": _buckets(config, _of(dataset, index)),
        "resize_interpolation": config.resize_interpolation,
        "subsets": [_subset(subset, len(_of(dataset, index, subset))) for subset in config.subsets],
    }


def _subset(subset: SubsetConfig, count: int) -> dict[str, object]:
    rules = subset.captions
    return {
        "img_count": count,
        "num_repeats": subset.num_repeats,
        "color_aug": False,
        "flip_aug": subset.flip_aug,
        "random_crop": False,
        "shuffle_caption": rules.shuffle_caption,
        "keep_tokens": rules.keep_tokens,
        "keep_tokens_separator": rules.keep_tokens_separator,
        "secondary_separator": rules.secondary_separator or None,
        "enable_wildcard": rules.enable_wildcard,
        "caption_prefix": rules.caption_prefix or None,
        "caption_suffix": rules.caption_suffix or None,
        "resize_interpolation": subset.resize_interpolation,
        "image_dir": subset.image_dir.name,
        "class_tokens": subset.class_tokens,
        "is_reg": subset.is_reg,
    }


def _buckets(config: DatasetConfig, pictures: list[Picture]) -> dict[str, object] | None:
    """How many pictures each bucket has, repeats included, and the mean difference between the aspect ratios of
    pictures and their buckets, repeats not included. None without buckets."""
    if not config.buckets.enable_bucket:
        return None
    counts: collections.Counter[tuple[int, int]] = collections.Counter()
    for picture in pictures:
        if picture.repeats:
            counts[picture.bucket.width, picture.bucket.height] += picture.repeats
    errors = [
        abs(picture.bucket.width / picture.bucket.height - picture.upright.width / picture.upright.height)
        for picture in pictures
        if picture.repeats
    ]
    return {
        "buckets": {
            index: {"resolution": list(size), "count": counts[size]} for index, size in enumerate(sorted(counts))
        },
        # numpy's mean, as in sd-scripts: from Python 3.12 on, the built-in sum rounds differently.
        "mean_img_ar_error": float(numpy.mean(errors)) if errors else 0,
    }


def _frequencies(pictures: Iterable[Picture]) -> Frequencies:
    found: dict[str, collections.Counter[str]] = {}
    for picture in pictures:
        tags = (tag.strip().lower() for tag in picture.caption.split(","))
        counts = found.setdefault(picture.subset.image_dir.name, collections.Counter())
        counts.update(tag for tag in tags if tag)
    return {folder: dict(counts) for folder, counts in found.items()}


def _of(dataset: Dataset, index: int, subset: SubsetConfig | None = None) -> list[Picture]:
    own = (picture for picture in dataset.pictures if picture.dataset == index)
    return [picture for picture in own if subset is None or picture.subset == subset]


def _free_name(name: str, taken: dict[str, dict[str, int]]) -> str:
    candidates = [name, *(f"{name} ({number})" for number in range(2, len(taken) + 2))]
    return next(candidate for candidate in candidates if candidate not in taken)
