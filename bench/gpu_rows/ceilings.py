# SPDX-License-Identifier: Apache-2.0
"""A worker that measures what the device itself can do: a large product of random bf16 matrices, and a large copy.

The numbers are random, since products of zeros are faster than real ones.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from job import Job, serve

REPEATS = 10


def run(job: Job) -> dict[str, Any]:
    """`flops`: operations per second. `copied`: bytes read and written per second."""
    side: int = job["side"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.randn(4 * side, 4 * side, device=device)
    target = torch.empty_like(source)
    return {
        "flops": 2 * side**3 / _seconds(lambda: a @ b),
        "copied": 2 * source.nbytes / _seconds(lambda: target.copy_(source)),
    }


def _seconds(work: Callable[[], Any]) -> float:
    """The median of REPEATS runs, after two runs that warm up."""
    spans = []
    for _ in range(REPEATS + 2):
        _wait()
        began = time.perf_counter()
        work()
        _wait()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans[2:])


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    serve(run)
