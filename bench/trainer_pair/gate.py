# SPDX-License-Identifier: Apache-2.0
"""A trainer's side of the turns: it stands still before each step until the bench lets it go.

So the steps of two trainers alternate, and what else the machine does falls on both. Lines of JSON go out: `turn`
when the trainer waits, with what the step before took (`seconds` of the wall's clock, `cpu_seconds` of all its
threads; null before the first), and `loss` for each loss. One byte comes in for each turn. Needs nothing but Python,
because it runs in the environments of both trainers.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

PIPES = "TRAINER_BENCH_PIPES"


class Gate:
    """The pipes are inherited: their numbers are in the environment, first the one to write to."""

    def __init__(self) -> None:
        out, turns = map(int, os.environ[PIPES].split(","))
        self._out, self._turns = os.fdopen(out, "w"), turns
        self._began: tuple[float, float] | None = None

    def turn(self) -> None:
        """Tells what the step before took, and waits for the next turn."""
        seconds = cpu_seconds = None
        if self._began is not None:
            seconds, cpu_seconds = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        self._tell(turn=True, seconds=seconds, cpu_seconds=cpu_seconds)
        if not os.read(self._turns, 1):
            raise SystemExit("the bench is gone")
        self._began = time.perf_counter(), time.process_time()

    def loss(self, value: float) -> None:
        self._tell(loss=value)

    def _tell(self, **line: Any) -> None:
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()
