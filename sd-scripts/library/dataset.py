# SPDX-License-Identifier: Apache-2.0
"""The pictures and captions of all datasets, and the order of an epoch, which is a function of (seed, epoch) alone.

A batch holds pictures of one dataset and one bucket. A picture that two datasets train at different sizes is there
twice.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from library import buckets, captions, images, randomness
from library.buckets import Size
from library.dataset_config import DatasetConfig, SubsetConfig
from library.errors import TrainerError
from library.images import IMAGE_ENDINGS


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture at one size. `size` is the file's own, `upright` what people see of it; `dataset` counts from 0.

    `caption` is the text of its file, which `caption_path` names, or else class_tokens."""

    path: Path
    size: Size
    rotation: int
    bucket: Size
    resized: Size
    caption: str
    caption_path: Path | None
    repeats: int
    dataset: int
    subset: SubsetConfig
    interpolation: str | None

    @property
    def upright(self) -> Size:
        return images.upright(self.size, self.rotation)

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files that a cache is made from."""
        return (self.path,) if self.caption_path is None else (self.path, self.caption_path)

    @property
    def text(self) -> str:
        """The caption where nothing is drawn."""
        return captions.fixed(self.caption, self.subset.captions)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Everything that is trained, in the order of the datasets, folders and names."""

    configs: tuple[DatasetConfig, ...]
    pictures: tuple[Picture, ...]

    @property
    def repeated(self) -> int:
        """Pictures times repeats, without regularisation pictures (sd-scripts' num_train_images)."""
        return self.count(is_reg=False)

    def count(self, *, is_reg: bool, dataset: int | None = None) -> int:
        """Pictures times their folder's repeats, of one kind, of one dataset or all."""
        wanted = (picture for picture in self.pictures if dataset in (None, picture.dataset))
        return sum(picture.subset.num_repeats for picture in wanted if picture.subset.is_reg == is_reg)

    @functools.cached_property
    def groups(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """(batch size, indices of pictures with their repeats) of each dataset and bucket."""
        found: dict[tuple[int, Size], list[int]] = {}
        for index, picture in enumerate(self.pictures):
            if picture.repeats:
                found.setdefault((picture.dataset, picture.bucket), []).extend([index] * picture.repeats)
        return tuple(
            (self.configs[dataset].batch_size, tuple(found[dataset, bucket])) for dataset, bucket in sorted(found)
        )

    @property
    def batches_per_epoch(self) -> int:
        """The last batch of a bucket may be smaller."""
        return sum(-(-len(indices) // size) for size, indices in self.groups)

    @property
    def batch_shapes(self) -> frozenset[tuple[int, int]]:
        """(pictures, pixels of each) of every batch that there is."""
        return frozenset(
            (pictures, self.pictures[indices[0]].bucket.area)
            for size, indices in self.groups
            for pictures in (min(size, len(indices)), len(indices) % size)
            if pictures
        )

    @property
    def many_texts(self) -> bool:
        """Whether the captions have to be encoded anew at each step."""
        return any(picture.subset.captions.many_texts for picture in self.pictures)

    @property
    def drops(self) -> bool:
        """Whether a picture is trained without its caption at times."""
        return any(picture.subset.captions.drops for picture in self.pictures)


def find(configs: tuple[DatasetConfig, ...]) -> Dataset:
    """Reads names, sizes and captions. Raises TrainerError for a dataset without pictures or with a damaged one."""
    pictures = [
        picture
        for index, config in enumerate(configs)
        for subset in config.subsets
        for picture in _find_in(subset, config, index)
    ]
    if not any(not picture.subset.is_reg for picture in pictures):
        raise TrainerError(f"the dataset is empty: {_why_empty(configs, pictures)}")
    return Dataset(configs=configs, pictures=tuple(pictures))


def _why_empty(configs: Iterable[DatasetConfig], pictures: Iterable[Picture]) -> str:
    folders = ", ".join(str(subset.image_dir) for config in configs for subset in config.subsets)
    if not folders:
        return "num_repeats = 0 leaves every folder out"
    if any(pictures):
        return f"there are only regularisation pictures (is_reg = true), in {folders}"
    return f"no picture ({' '.join(IMAGE_ENDINGS)}) in {folders}"


def _find_in(subset: SubsetConfig, config: DatasetConfig, dataset: int) -> Iterator[Picture]:
    paths = sorted(path for path in subset.image_dir.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
    _refuse_same_stems(paths)
    for path in paths:
        size, rotation = images.read_size(path)
        bucket, resized = buckets.choose(images.upright(size, rotation), config.buckets)
        if not bucket.area:
            raise TrainerError(
                f"the picture {path} is smaller than bucket_reso_steps = {config.buckets.bucket_reso_steps}: "
                "take it out of the dataset, or leave bucket_no_upscale out"
            )
        caption, caption_path = read_caption(path, subset)
        yield Picture(
            path=path,
            size=size,
            rotation=rotation,
            bucket=bucket,
            resized=resized,
            caption=caption,
            caption_path=caption_path,
            repeats=subset.num_repeats,
            dataset=dataset,
            subset=subset,
            interpolation=subset.resize_interpolation or config.resize_interpolation,
        )


def _refuse_same_stems(paths: Iterable[Path]) -> None:
    by_stem: dict[str, Path] = {}
    for path in paths:
        if path.stem in by_stem:
            raise TrainerError(
                f"{by_stem[path.stem]} and {path.name} share one caption and one cache: rename one of them"
            )
        by_stem[path.stem] = path


def balanced(found: Dataset) -> Dataset:
    """Regularisation pictures of each dataset repeated until there are as many of them as of the others: first each
    with its repeats, then once more each in turn, as in sd-scripts. Those that are too many have no repeats.

    To be done when it is known what is trained: what is validated does not count.
    """
    pictures = [
        picture
        for index in range(len(found.configs))
        for picture in _balanced([picture for picture in found.pictures if picture.dataset == index])
    ]
    return dataclasses.replace(found, pictures=tuple(pictures))


def _balanced(pictures: list[Picture]) -> list[Picture]:
    kept = [picture for picture in pictures if not picture.subset.is_reg]
    others = [picture for picture in pictures if picture.subset.is_reg]
    wanted = sum(picture.repeats for picture in kept)
    repeats = [0] * len(others)
    done = 0
    turns = ((turn, index) for turn in itertools.count() for index in range(len(others)))
    for turn, index in turns if others else ():
        if done >= wanted:
            break
        more = 1 if turn else others[index].repeats
        repeats[index] += more
        done += more
    return kept + [
        dataclasses.replace(picture, repeats=count) for picture, count in zip(others, repeats, strict=True)
    ]


def read_caption(picture: Path, subset: SubsetConfig) -> tuple[str, Path | None]:
    """The first line of the caption file (all lines, with enable_wildcard) and the file; without a file
    class_tokens, with a warning. A name with 5 or more parts between "_" may leave the last four out.

    Raises TrainerError for an empty caption file.
    """
    parts = picture.stem.split("_")
    stems = [picture.stem, "_".join(parts[:-4])] if len(parts) >= 5 else [picture.stem]
    for stem in stems:
        path = picture.with_name(stem + subset.caption_extension)
        try:
            lines = path.read_text(encoding="utf-8-sig").strip().splitlines()
        except FileNotFoundError:
            continue
        except UnicodeDecodeError as error:
            raise TrainerError(f"the caption file {path} is not UTF-8 text: save it as UTF-8") from error
        if not lines:
            raise TrainerError(f"the caption file {path} is empty: write one line, or remove it to use class_tokens")
        wanted = lines if subset.captions.enable_wildcard else lines[:1]
        return "\n".join(line.strip() for line in wanted if line.strip()), path
    caption = subset.class_tokens or ""
    path = picture.with_name(picture.stem + subset.caption_extension)
    print(f"warning: no caption file {path}; the caption is {caption!r} (class_tokens)", file=sys.stderr)
    return caption, None


def epoch_batches(dataset: Dataset, *, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch (from 0) as indices of pictures: a fresh permutation of all repeats in each bucket,
    and of the batches of all buckets."""
    drawn = randomness.generator("order", seed, epoch)
    batches = []
    for size, indices in dataset.groups:
        order = torch.randperm(len(indices), generator=drawn).tolist()
        batches += [[indices[place] for place in order[start : start + size]] for start in range(0, len(order), size)]
    if len(dataset.groups) > 1:
        batches = [batches[place] for place in torch.randperm(len(batches), generator=drawn).tolist()]
    return batches
