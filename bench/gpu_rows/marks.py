# SPDX-License-Identifier: Apache-2.0
"""When each step of a training began, by the device's own clock.

On a GPU a mark is an event in the stream. The time between two marks is the device's, including its waits for the
host, and recording a mark does not make the training wait. Peak memory is measured from the first mark on.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import torch


class Measured(Exception):
    """Raised when the step after the last one would begin; it ends the training."""


class Marks:
    """Measures `steps` steps after `warm_up` others, the first of which compiles."""

    def __init__(self, *, warm_up: int, steps: int) -> None:
        self._warm_up, self._total = warm_up, warm_up + steps
        self._on_gpu = torch.cuda.is_available()
        self._began = time.perf_counter()
        self._marks: list[Any] = []
        self._losses: list[torch.Tensor] = []

    def step(self) -> None:
        """Must be called before each step. Raises Measured once all steps are done."""
        if not self._marks:
            self._loaded = time.perf_counter()
            if self._on_gpu:
                torch.cuda.reset_peak_memory_stats()
        self._marks.append(self._now())
        if len(self._marks) > self._total:
            raise Measured

    def loss(self, loss: torch.Tensor) -> None:
        """Keeps the loss of the step that began last. It is read only at the end."""
        self._losses.append(loss.detach())

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def result(self) -> dict[str, Any]:
        """The result in seconds and bytes. `seconds` is the median of the measured steps; `first_step` includes the
        compilation.

        Raises RuntimeError if a loss is not finite: such steps may be faster than real ones.
        """
        if self._on_gpu:
            torch.cuda.synchronize()
        spans = [self._between(a, b) for a, b in zip(self._marks, self._marks[1:], strict=False)]
        measured = spans[self._warm_up :]
        losses = [float(loss) for loss in self._losses]
        if not all(map(math.isfinite, losses)):
            raise RuntimeError(f"the losses are not finite: {losses}")
        found = {
            "seconds": statistics.median(measured),
            "fastest": min(measured),
            "slowest": max(measured),
            "first_step": spans[0],
            "load": self._loaded - self._began,
            "steps": measured,
            "losses": losses,
        }
        if self._on_gpu:
            found["peak_bytes"] = torch.cuda.max_memory_allocated()
            found["reserved_bytes"] = torch.cuda.max_memory_reserved()
        return found

    def _between(self, first: Any, second: Any) -> float:
        if not self._on_gpu:
            return float(second - first)
        return float(first.elapsed_time(second)) / 1000
