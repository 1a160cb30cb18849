# SPDX-License-Identifier: Apache-2.0
"""The loss on pictures that are not trained (validation_split), comparable from one validation to the next.

Noise levels and noise are the same each time, so only the weights make a difference. (sd-scripts means to use the
levels 0.2, 0.4, 0.6 and 0.8, but its Flux trainer draws random levels.) Validation does not change what the training
draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from library.flow.batches import Batch, BatchSource, Position

LEVELS = (0.2, 0.4, 0.6, 0.8)


class Validation:
    """Measures one network. `loss_of` gives the loss of a batch, a scalar on the device."""

    def __init__(self, source: BatchSource, *, batches: int, loss_of: Callable[[Batch], Tensor]) -> None:
        self._source, self._batches, self._loss_of = source, batches, loss_of

    @torch.no_grad()
    def loss(self, *, between: Callable[[], bool]) -> float | None:
        """The mean over batches and levels, without dropout if the network is in evaluation mode.

        `between` is called after each forward pass; if it returns False, the validation ends and returns None.
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
