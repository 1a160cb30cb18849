# SPDX-License-Identifier: Apache-2.0
"""Checks the dataset: its file or folders, all captions, the headers of all pictures, and the names of their caches.

No torch.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from library.data import captions, dataset, dataset_config, validation_split
from library.data.dataset import Dataset, Picture
from library.data.dataset_keys import KEYS
from library.errors import Gathered, TrainerError
from library.family.cache_names import CacheNames
from library.findings import warn
from library.options.options import Options

# Flag -> key of the dataset's file, where their names differ.
NAMED_OTHERWISE = {
    "train_batch_size": "batch_size",
    "dataset_repeats": "num_repeats",
    "caption_extention": "caption_extension",
}
FOLDERS = ("train_data_dir", "reg_data_dir")
TEXT_CACHING = ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk")


@dataclass(frozen=True, kw_only=True)
class Data:
    """The pictures to train, and those set aside for validation."""

    dataset: Dataset
    validated: Dataset | None

    @property
    def encoded(self) -> tuple[Picture, ...]:
        """All pictures that have to be encoded."""
        aside = self.validated.pictures if self.validated else ()
        return (*(picture for picture in self.dataset.pictures if picture.repeats), *aside)


def check(options: Options, names: CacheNames) -> Data:
    """Reads the dataset. Raises TrainerError with all of its problems. `names`: those of its caches."""
    found = _find(options)
    dataset.warn_of_captions(found.pictures)
    gathered = Gathered()
    with gathered:
        _check_caching(options, found)
    with gathered:
        _check_cache_names(options, found.pictures, names)
    trained, validated = found, None
    with gathered:
        trained, validated = validation_split.split(found)
    gathered.throw()
    return Data(dataset=dataset.balanced(trained), validated=validated)


def _find(options: Options) -> Dataset:
    """The dataset of --dataset_config, or else of --train_data_dir. The command line's values are the defaults."""
    said = dataclasses.asdict(options) | {
        "batch_size": options.train_batch_size,
        "num_repeats": options.dataset_repeats,
        "caption_extension": options.caption_extention or options.caption_extension,
    }
    defaults = {key: said[key] for key in KEYS if said.get(key) is not None}
    if options.dataset_config is not None:
        configs = dataset_config.read(options.dataset_config, defaults=defaults)
        _warn_of_overridden(options, options.dataset_config)
    else:
        assert options.train_data_dir is not None  # the command line has one of the two
        configs = dataset_config.of_folders(options.train_data_dir, options.reg_data_dir, defaults=defaults)
    return dataset.find(configs)


def _warn_of_overridden(options: Options, path: Path) -> None:
    """Gives one warning that names the flags which the file overrides everywhere."""
    keys = dataset_config.keys_for_all(path).intersection(KEYS)
    named = sorted(name for name in options.named if name in FOLDERS or NAMED_OTHERWISE.get(name, name) in keys)
    if named:
        flags = ", ".join(f"--{name}" for name in named)
        have, them = ("has", "it") if len(named) == 1 else ("have", "them")
        warn(f"{flags} {have} no effect, because {path} overrides {them}", setting=named[0], path=path)


def _check_caching(options: Options, found: Dataset) -> None:
    caching = [name for name in TEXT_CACHING if getattr(options, name)]
    if not found.many_texts or not caching:
        return
    keys = {key for picture in found.pictures for key in picture.subset.captions.changing}
    given = [f"--{key}" if key in options.named else key for key in captions.CHANGING if key in keys]
    makes, these = ("makes", "it") if len(given) == 1 else ("make", "them")
    off = " and ".join(f"leave --{name} out" for name in caching)
    raise TrainerError(
        f"{' and '.join(given)} {makes} captions change at each step, so they cannot be encoded in advance: leave "
        f"{these} out, or {off}",
        kind="command_line",
        setting=given[0].removeprefix("--"),
    )


def _check_cache_names(options: Options, pictures: Sequence[Picture], names: CacheNames) -> None:
    """Raises TrainerError for pictures whose caches' names would be too long: a cache's name is longer than its
    picture's, and has `.tmp` at its end while it is written."""
    gathered = Gathered()
    limits: dict[Path, int] = {}
    for picture in pictures:
        wanted = [
            *([names.latents(picture).name] if options.cache_latents_to_disk else []),
            *([names.text(picture).name] if options.cache_text_encoder_outputs_to_disk else []),
        ]
        longest = max((len(os.fsencode(f"{name}.tmp")) for name in wanted), default=0)
        folder = picture.path.parent
        if folder not in limits:
            limits[folder] = os.pathconf(folder, "PC_NAME_MAX")
        with gathered:
            if longest > limits[folder]:
                raise TrainerError(
                    f"the name of the picture {picture.path} is too long: its cache's name would have {longest} "
                    f"bytes, but at most {limits[folder]} are allowed; make it {longest - limits[folder]} bytes "
                    "shorter, or do not cache on disk",
                    path=picture.path,
                )
    gathered.throw()
