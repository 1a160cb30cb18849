# SPDX-License-Identifier: Apache-2.0
"""A trainer's side of the turns: it stands still before each step until the bench lets it go.

So the steps of two trainers alternate, and other load on the machine affects both alike. The trainer writes lines of
JSON: `turn` when it waits, with the time of the step before (`seconds` of wall time, `cpu_seconds` of all its
threads; null before the first step), and `loss` for each loss. It reads one byte for each turn. This module needs
only the standard library, since it runs in the environments of both trainers.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

PIPES = "TRAINER_BENCH_PIPES"


class Gate:
    """Writes and reads two inherited pipes. Their numbers are in the environment, the one to write to first."""

    def __init__(self) -> None:
        out, turns = map(int, os.environ[PIPES].split(","))
        self._out, self._turns = os.fdopen(out, "w"), turns
        self._began: tuple[float, float] | None = None

    def turn(self) -> None:
        """Reports the time of the step before, and waits for the next turn."""
        seconds = cpu_seconds = None
        if self._began is not None:
            seconds, cpu_seconds = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        self._tell(turn=True, seconds=seconds, cpu_seconds=cpu_seconds)
        if not os.read(self._turns, 1):
            raise SystemExit("the benchmark has ended")
        self._began = time.perf_counter(), time.process_time()

    def loss(self, value: float) -> None:
        self._tell(loss=value)

    def _tell(self, **line: Any) -> None:
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()
