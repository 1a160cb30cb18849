# SPDX-License-Identifier: Apache-2.0
"""Reads losses from the device one step late, so that no step has to wait for the end of the one before.

On a GPU, each loss is copied to page-locked memory after its step; by the time that the next step is queued, it has
arrived or is about to. At most one step is queued ahead. On a CPU a loss is available at once.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from library.report.not_finite import NotFinite

STEPS_AHEAD = 1
NOT_FINITE_STEPS = 3
"""A run ends after this many losses in a row that are not finite. A single one may come from a batch that overflows,
but weights that are not finite never recover."""


@dataclass(frozen=True, kw_only=True)
class _Pending:
    step: int
    values: Tensor
    names: tuple[str, ...]
    copied: torch.cuda.Event | None


class LossReader:
    """A queue of losses between the device and the loop. `step` counts from 1, as elsewhere."""

    def __init__(self) -> None:
        self._pending: collections.deque[_Pending] = collections.deque()

    def put(self, step: int, loss: Tensor, others: Mapping[str, Tensor] | None = None) -> None:
        """Queues the loss of a step and other numbers by name: scalars on any device, which are copied together."""
        named = dict(others or {})
        values = torch.stack([loss, *(value.to(loss.dtype) for value in named.values())])
        if values.device.type != "cuda":
            self._pending.append(_Pending(step=step, values=values, names=tuple(named), copied=None))
            return
        pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._pending.append(_Pending(step=step, values=pinned, names=tuple(named), copied=copied))

    def take(self, *, every: bool = False) -> Iterator[tuple[int, float, dict[str, float]]]:
        """(step, loss, other numbers) of the steps that have arrived, in order. `every`: waits for all of them."""
        while self._pending:
            first = self._pending[0]
            if first.copied is not None and not first.copied.query():
                if not every and len(self._pending) <= STEPS_AHEAD:
                    return
                first.copied.synchronize()
            self._pending.popleft()
            loss, *others = first.values.tolist()
            yield first.step, loss, dict(zip(first.names, others, strict=True))


class FiniteWatch:
    """Ends a run whose losses are no longer finite. `seen`: whether any loss was finite."""

    def __init__(self) -> None:
        self.seen = False
        self._in_a_row = 0

    def see(self, step: int, loss: float) -> None:
        """Raises NotFinite at the third loss in a row that is not finite."""
        if math.isfinite(loss):
            self.seen, self._in_a_row = True, 0
            return
        self._in_a_row += 1
        if self._in_a_row == NOT_FINITE_STEPS:
            first = step - NOT_FINITE_STEPS + 1
            raise NotFinite(
                f"the loss was not finite in steps {first} to {step}; the states saved before are intact: resume "
                "from one of them with a lower --learning_rate"
            )
