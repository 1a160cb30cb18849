# SPDX-License-Identifier: Apache-2.0
"""The pictures and captions of all datasets. No torch.

A batch holds pictures of one dataset and one bucket. A picture file that two datasets use counts as two pictures.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path

from library.data import buckets, captions, picture_size
from library.data.buckets import Size
from library.data.dataset_config import DatasetConfig, SubsetConfig
from library.data.picture_size import IMAGE_ENDINGS
from library.errors import Gathered, TrainerError
from library.findings import note, warn


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture at one size. `size` is as stored in the file, `upright` as people see it. `dataset` counts from 0.

    `caption` is the text of the file `caption_path`, or class_tokens if that is None. `more_lines`: the file has
    lines that are not used.
    """

    path: Path
    size: Size
    rotation: int
    bucket: Size
    resized: Size
    caption: str
    caption_path: Path | None
    more_lines: bool = False
    repeats: int
    dataset: int
    subset: SubsetConfig
    interpolation: str | None

    @property
    def upright(self) -> Size:
        return picture_size.upright(self.size, self.rotation)

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files that the picture's caches are made from."""
        return (self.path,) if self.caption_path is None else (self.path, self.caption_path)

    @property
    def text(self) -> str:
        """The text without random choices (`captions.fixed`)."""
        return captions.fixed(self.caption, self.subset.captions)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Pictures in the order of their datasets, folders and names."""

    configs: tuple[DatasetConfig, ...]
    pictures: tuple[Picture, ...]

    @property
    def repeated(self) -> int:
        """The sum of repeats over all but regularisation pictures (sd-scripts' num_train_images)."""
        return self.count(is_reg=False)

    def count(self, *, is_reg: bool, dataset: int | None = None) -> int:
        """The sum of their folders' repeats over the pictures of one kind, in one dataset or (None) in all."""
        wanted = (picture for picture in self.pictures if dataset in (None, picture.dataset))
        return sum(picture.subset.num_repeats for picture in wanted if picture.subset.is_reg == is_reg)

    @functools.cached_property
    def groups(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """(batch size, indices of pictures, each as often as it is repeated) for each dataset and bucket."""
        found: dict[tuple[int, Size], list[int]] = {}
        for index, picture in enumerate(self.pictures):
            if picture.repeats:
                found.setdefault((picture.dataset, picture.bucket), []).extend([index] * picture.repeats)
        return tuple(
            (self.configs[dataset].batch_size, tuple(found[dataset, bucket])) for dataset, bucket in sorted(found)
        )

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch has. The last batch of a bucket may be smaller than the others."""
        return sum(batches_in(size, indices) for size, indices in self.groups)

    @property
    def batch_shapes(self) -> frozenset[tuple[int, int]]:
        """The (pictures, pixels per picture) that occur among the batches."""
        return frozenset(
            (pictures, self.pictures[indices[0]].bucket.area)
            for size, indices in self.groups
            for pictures in (min(size, len(indices)), len(indices) % size)
            if pictures
        )

    @property
    def many_texts(self) -> bool:
        """Whether captions have to be encoded at each step, because their texts vary."""
        return any(picture.subset.captions.many_texts for picture in self.pictures)

    @property
    def drops(self) -> bool:
        """Whether some pictures are sometimes trained without their captions."""
        return any(picture.subset.captions.drops for picture in self.pictures)


def batches_in(size: int, indices: Sized) -> int:
    """How many batches of `size` pictures a group has."""
    return -(-len(indices) // size)


def find(configs: tuple[DatasetConfig, ...]) -> Dataset:
    """Reads names, sizes and captions. Raises TrainerError with all problems of pictures and captions, or if there is
    no picture to train."""
    gathered = Gathered()
    pictures = [
        picture
        for index, config in enumerate(configs)
        for subset in config.subsets
        for picture in _find_in(subset, config, index, gathered)
    ]
    gathered.throw()
    if not any(not picture.subset.is_reg for picture in pictures):
        raise TrainerError(f"the dataset is empty: {_why_empty(configs, pictures)}")
    return Dataset(configs=configs, pictures=tuple(_resized_once(pictures)))


def _resized_once(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Datasets may resize a picture differently for buckets of one size (bucket_no_upscale, resize_interpolation).
    Its latents have one name there, so they are those of the first dataset in all of them, as in sd-scripts."""
    first: dict[tuple[Path, Size], Picture] = {}
    for picture in pictures:
        shared = first.setdefault((picture.path, picture.bucket), picture)
        yield dataclasses.replace(picture, resized=shared.resized, interpolation=shared.interpolation)


def _why_empty(configs: Iterable[DatasetConfig], pictures: Iterable[Picture]) -> str:
    folders = ", ".join(str(subset.image_dir) for config in configs for subset in config.subsets)
    if not folders:
        return "num_repeats = 0 excludes every folder"
    if any(pictures):
        return f"it has only regularisation pictures (is_reg = true), in {folders}"
    return f"no picture ({' '.join(IMAGE_ENDINGS)}) in {folders}"


def _find_in(subset: SubsetConfig, config: DatasetConfig, dataset: int, gathered: Gathered) -> Iterator[Picture]:
    note(subset.image_dir)
    paths = pictures_in(subset.image_dir)
    with gathered:
        _refuse_same_stems(paths)
    for path in paths:
        caption: Caption | None = None
        with gathered:
            caption = read_caption(path, subset)
        with gathered:
            (size, rotation), (bucket, resized) = _sizes(path, config)
            if caption is not None:
                yield Picture(
                    path=path,
                    size=size,
                    rotation=rotation,
                    bucket=bucket,
                    resized=resized,
                    caption=caption.text,
                    caption_path=caption.path,
                    more_lines=caption.more_lines,
                    repeats=subset.num_repeats,
                    dataset=dataset,
                    subset=subset,
                    interpolation=subset.resize_interpolation or config.resize_interpolation,
                )


def _sizes(path: Path, config: DatasetConfig) -> tuple[tuple[Size, int], tuple[Size, Size]]:
    """((size, rotation) of the file, (bucket, size to resize to))."""
    note(path)
    size, rotation = picture_size.read_size(path)
    bucket, resized = buckets.choose(picture_size.upright(size, rotation), config.buckets)
    if not bucket.area:
        raise TrainerError(
            f"the picture {path} is smaller than bucket_reso_steps = {config.buckets.bucket_reso_steps}: "
            "remove it from the dataset, or turn bucket_no_upscale off",
            path=path,
        )
    return (size, rotation), (bucket, resized)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted by name. Hidden files are left out, as in sd-scripts: macOS writes `._x.png`
    beside x.png."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".")
    )


def _refuse_same_stems(paths: Iterable[Path]) -> None:
    by_stem: dict[str, Path] = {}
    for path in paths:
        if path.stem in by_stem:
            raise TrainerError(
                f"{by_stem[path.stem]} and {path.name} would share one caption and one cache: rename one of them",
                path=path,
            )
        by_stem[path.stem] = path


def balanced(found: Dataset) -> Dataset:
    """Sets the repeats of regularisation pictures so that each dataset has as many of them as of other pictures.

    As in sd-scripts, each first gets its own repeats, then one more in turn, until the number is reached; those that
    come later get none. Call this after the validation split, since validated pictures do not count.
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


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A picture's caption. `path`: its file, or None if there is none."""

    text: str
    path: Path | None
    more_lines: bool = False


def read_caption(picture: Path, subset: SubsetConfig) -> Caption:
    """The first line of the caption file (with enable_wildcard, all lines), or class_tokens if there is no file.

    If the picture's name has at least five parts separated by "_", the caption file's name may lack the last four.
    Raises TrainerError if the file is empty or not UTF-8.
    """
    parts = picture.stem.split("_")
    stems = [picture.stem, "_".join(parts[:-4])] if len(parts) >= 5 else [picture.stem]
    for stem in stems:
        path = picture.with_name(stem + subset.caption_extension)
        note(path)
        try:
            lines = captions.lines_of(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            continue
        except UnicodeDecodeError as error:
            raise TrainerError(f"the caption file {path} is not UTF-8 text: save it as UTF-8", path=path) from error
        if not lines:
            raise TrainerError(
                f"the caption file {path} is empty: write a caption into it, or delete it to use class_tokens",
                path=path,
            )
        every = subset.captions.enable_wildcard
        text = "\n".join(lines if every else lines[:1])
        return Caption(text=text, path=path, more_lines=len(lines) > 1 and not every)
    return Caption(text=subset.class_tokens or "", path=None)


def warn_of_captions(pictures: Iterable[Picture]) -> None:
    """Gives one warning for all missing captions, and one for all captions with unused lines."""

    def have(found: Sized) -> str:
        return "has" if len(found) == 1 else "have"

    by_path = {picture.path: picture for picture in pictures}
    missing = [picture for picture in by_path.values() if picture.caption_path is None]
    if missing:
        first = missing[0]
        path = first.path.with_name(first.path.stem + first.subset.caption_extension)
        warn(
            f"{len(missing)} of {len(by_path)} pictures {have(missing)} no caption file, for example {path}; the "
            f"caption used instead is {first.caption!r} (class_tokens)",
            path=path,
        )
    longer = [picture.caption_path for picture in by_path.values() if picture.more_lines]
    if longer:
        warn(
            f"{len(longer)} of {len(by_path)} captions {have(longer)} more than one line, and only the first is "
            f"used, for example in {longer[0]}; with enable_wildcard, a random line is used each time",
            path=longer[0],
        )
