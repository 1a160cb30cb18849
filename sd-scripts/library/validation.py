# SPDX-License-Identifier: Apache-2.0
"""The loss on pictures that are not trained (validation_split), comparable from one time to the next.

Noise levels and noise are the same each time, so that only the weights make the difference. (sd-scripts means to use
the levels 0.2, 0.4, 0.6 and 0.8, but its Flux trainer draws them, trainers.md 1.2.) Nothing is drawn that the
training would have drawn.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable

import torch
from torch import Tensor

from library.batches import Batch, BatchSource, Position
from library.dataset import Dataset, Picture
from library.errors import TrainerError

LEVELS = (0.2, 0.4, 0.6, 0.8)


def split(found: Dataset) -> tuple[Dataset, Dataset | None]:
    """(what is trained, what is validated): of each folder the share that its dataset says is put aside, by
    sd-scripts' shuffle of the dataset's seed.

    Regularisation pictures are all trained. A picture is validated once, whatever its repeats.
    Something of each folder is always trained. Raises TrainerError where nothing would be validated.
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
        raise TrainerError(f"validation_split {share:g} puts no picture of a folder aside: take a greater share")
    return dataclasses.replace(found, pictures=trained), dataclasses.replace(found, pictures=aside)


class Validation:
    """Measures one network. `loss_of` gives the loss of a batch, a scalar on the device."""

    def __init__(self, source: BatchSource, *, batches: int, loss_of: Callable[[Batch], Tensor]) -> None:
        self._source, self._batches, self._loss_of = source, batches, loss_of

    @torch.no_grad()
    def loss(self, *, between: Callable[[], bool]) -> float | None:
        """The mean over batches and levels, without dropout if the network is in evaluation mode.

        `between` is called after each forward pass; where it returns False the validation is left, with None.
        """
        found = []
        for index in range(self._batches):
            batch = self._source.batch(Position(epoch=0, batch=index, step=0))
            for level in LEVELS:
                at_level = dataclasses.replace(batch, sigma_B=torch.full_like(batch.sigma_B, level))
                found.append(self._loss_of(at_level))
                if not between():
                    return None
        return float(torch.stack(found).mean())
