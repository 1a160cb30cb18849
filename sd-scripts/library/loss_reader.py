# SPDX-License-Identifier: Apache-2.0
"""Losses as numbers, read from the device a step late, so that no step waits for the one before to end.

On a GPU each loss is copied behind its step into pinned memory; when the next step has been queued, it is there or
about to be. At most one step is queued ahead. On a CPU a loss is there at once.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from library.errors import TrainerError

STEPS_AHEAD = 1
NOT_FINITE_STEPS = 3
"""So many in a row end the run. One may be a batch that overflows; weights that are not finite never recover."""


@dataclass(frozen=True, kw_only=True)
class _Pending:
    step: int
    loss: Tensor
    copied: torch.cuda.Event | None


class LossReader:
    """A queue of losses between the device and the loop. `step` counts from 1, as elsewhere."""

    def __init__(self) -> None:
        self._pending: collections.deque[_Pending] = collections.deque()

    def put(self, step: int, loss: Tensor) -> None:
        """The loss of a step, a scalar on any device."""
        if loss.device.type != "cuda":
            self._pending.append(_Pending(step=step, loss=loss, copied=None))
            return
        pinned = torch.empty((), dtype=loss.dtype, pin_memory=True).copy_(loss, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._pending.append(_Pending(step=step, loss=pinned, copied=copied))

    def take(self, *, every: bool = False) -> Iterator[tuple[int, float]]:
        """(step, loss) of those that are there, in order. `every`: waits for the last ones too."""
        while self._pending:
            first = self._pending[0]
            if first.copied is not None and not first.copied.query():
                if not every and len(self._pending) <= STEPS_AHEAD:
                    return
                first.copied.synchronize()
            self._pending.popleft()
            yield first.step, float(first.loss)


class FiniteWatch:
    """Ends a run whose losses are no numbers any more."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def see(self, step: int, loss: float) -> None:
        """Raises TrainerError at the third loss in a row that is not finite."""
        self._in_a_row = 0 if math.isfinite(loss) else self._in_a_row + 1
        if self._in_a_row == NOT_FINITE_STEPS:
            first = step - NOT_FINITE_STEPS + 1
            raise TrainerError(
                f"the loss was not finite in steps {first} to {step}, and states that were saved before are whole: "
                "go on from one of them with a lower --learning_rate or another --optimizer_type"
            )
