# SPDX-License-Identifier: Apache-2.0
"""Chooses the pictures that are validated instead of trained, as sd-scripts does. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
import random

from library.data.dataset import Dataset, Picture
from library.errors import TrainerError


def split(found: Dataset) -> tuple[Dataset, Dataset | None]:
    """(pictures to train, pictures to validate; None without validation_split). From each folder, the share in its
    dataset's validation_split is validated, chosen by sd-scripts' shuffle with validation_seed.

    All regularisation pictures are trained. A picture is validated once, whatever its repeats. At least one picture
    of each folder is trained. Raises TrainerError if no picture would be validated.
    """
    if not any(config.validation_split for config in found.configs):
        return found, None
    folders: dict[tuple[int, object], list[Picture]] = {}
    for picture in found.pictures:
        folders.setdefault((picture.dataset, picture.subset), []).append(picture)
    validated: set[int] = set()
    for pictures in folders.values():
        if not pictures[0].subset.is_reg:
            config = found.configs[pictures[0].dataset]
            shuffled = list(pictures)
            random.Random(config.validation_seed).shuffle(shuffled)
            validated.update(map(id, shuffled[math.ceil(len(shuffled) * (1 - config.validation_split)) :]))
    trained = tuple(picture for picture in found.pictures if id(picture) not in validated)
    aside = tuple(dataclasses.replace(picture, repeats=1) for picture in found.pictures if id(picture) in validated)
    if not aside:
        share = max(config.validation_split for config in found.configs)
        raise TrainerError(f"validation_split {share:g} selects no picture of any folder: use a larger share")
    return dataclasses.replace(found, pictures=trained), dataclasses.replace(found, pictures=aside)
