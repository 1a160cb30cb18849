# SPDX-License-Identifier: Apache-2.0
"""How well daemons serve an honest client while they are attacked or damaged, and how much memory that costs them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.daemon.running import Asked
from tests.fuzz.honest import honest_client

GROWTH_BYTES = 20 * 1024 * 1024
LATE_FACTOR = 20
FEW = 100


@dataclass
class Served:
    """Measurements of any number of daemons. Calls are timed in seconds; memory is in bytes."""

    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    grown: int = 0
    _rss: int = 0

    def measure_quiet(self, daemon: Asked, rss: int, *, job: str | None = None, calls: int = 300) -> None:
        """Measures a daemon before any trouble. `rss`: its memory, with which later measurements are compared."""
        with honest_client(daemon, job, calls=calls) as seconds:
            pass
        self.quiet += seconds
        self._rss = rss

    @contextmanager
    def measured(self, daemon: Asked, *, job: str | None = None, patient: bool = False) -> Iterator[None]:
        """Measures a daemon during the disturbance. `patient`: the daemon may die in the meantime, and calls that it
        didn't answer don't count."""
        with honest_client(daemon, job, calls=0 if patient else 100, patient=patient) as seconds:
            yield
        self.busy += seconds

    def check_memory(self, rss: int) -> None:
        grown = rss - self._rss
        self.grown = max(self.grown, grown)
        assert grown < GROWTH_BYTES, f"the daemon has grown by {grown / 1e6:.0f} MB"

    def report(self) -> bool:
        """Prints the figures. Returns whether the client was served well; a few calls can't tell that."""
        print(self, flush=True)
        return len(self.busy) < FEW or self.in_time

    @property
    def in_time(self) -> bool:
        return p99(self.busy) < LATE_FACTOR * p99(self.quiet)

    def __str__(self) -> str:
        return (
            f"p99 of an honest call: {1000 * p99(self.quiet):.1f} ms idle, {1000 * p99(self.busy):.1f} ms of "
            f"{len(self.busy)} calls; memory: {self.grown / 1e6:+.1f} MB"
        )


def p99(seconds: list[float]) -> float:
    """The 99th percentile; 0 if there are too few values."""
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else 0.0
