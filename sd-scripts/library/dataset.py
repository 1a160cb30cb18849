# SPDX-License-Identifier: Apache-2.0
"""The pictures and captions of a dataset, and the order of an epoch, which is a function of (seed, epoch) alone."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from library import randomness
from library.dataset_config import DatasetConfig, SubsetConfig
from library.errors import TrainerError
from library.images import IMAGE_ENDINGS, Size, read_size


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture with its caption. `size` is the file's own."""

    path: Path
    size: Size
    caption: str
    repeats: int


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Everything that is trained, in the order of the folders and names."""

    config: DatasetConfig
    pictures: tuple[Picture, ...]

    @property
    def repeated(self) -> int:
        """Pictures times repeats."""
        return sum(picture.repeats for picture in self.pictures)

    @property
    def batches_per_epoch(self) -> int:
        """The last batch of an epoch may be smaller."""
        return -(-self.repeated // self.config.batch_size)


def find(config: DatasetConfig) -> Dataset:
    """Reads names, sizes and captions. Raises TrainerError for a dataset without pictures or with a damaged one."""
    pictures = [picture for subset in config.subsets for picture in _find_in(subset)]
    if not pictures:
        folders = ", ".join(str(subset.image_dir) for subset in config.subsets)
        raise TrainerError(f"the dataset is empty: no picture ({' '.join(IMAGE_ENDINGS)}) in {folders}")
    return Dataset(config=config, pictures=tuple(pictures))


def _find_in(subset: SubsetConfig) -> list[Picture]:
    paths = sorted(path for path in subset.image_dir.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
    by_stem: dict[str, Path] = {}
    for path in paths:
        if path.stem in by_stem:
            raise TrainerError(
                f"{by_stem[path.stem]} and {path.name} share one caption and one cache: rename one of them"
            )
        by_stem[path.stem] = path
    return [
        Picture(path=path, size=read_size(path), caption=read_caption(path, subset), repeats=subset.num_repeats)
        for path in paths
    ]


def read_caption(picture: Path, subset: SubsetConfig) -> str:
    """The first line of the caption file; without a file class_tokens, with a warning.

    Raises TrainerError for an empty caption file.
    """
    path = picture.with_suffix(subset.caption_extension)
    try:
        lines = path.read_text(encoding="utf-8-sig").strip().splitlines()
    except FileNotFoundError:
        caption = subset.class_tokens or ""
        print(f"warning: no caption file {path}; the caption is {caption!r} (class_tokens)", file=sys.stderr)
        return caption
    except UnicodeDecodeError as error:
        raise TrainerError(f"the caption file {path} is not UTF-8 text: save it as UTF-8") from error
    if not lines:
        raise TrainerError(f"the caption file {path} is empty: write one line, or remove it to use class_tokens")
    return lines[0].strip()


def epoch_batches(dataset: Dataset, *, seed: int, epoch: int) -> list[list[int]]:
    """The batches of one epoch (from 0) as indices of pictures: a fresh permutation of all repeats."""
    repeated = [index for index, picture in enumerate(dataset.pictures) for _ in range(picture.repeats)]
    order = torch.randperm(len(repeated), generator=randomness.generator("order", seed, epoch)).tolist()
    size = dataset.config.batch_size
    return [[repeated[place] for place in order[start : start + size]] for start in range(0, len(order), size)]
