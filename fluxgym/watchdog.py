# SPDX-License-Identifier: Apache-2.0
"""The limits of the watchdog as people set them: one table for the configuration (`[watchdog]`), for a job's own
`watchdogLimits` and for what is said of a wrong one. Each has a unit and a range. fluxgymd/core/watchdog says what
they mean, and a test holds its defaults equal to these.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from fluxgym.messages import Phase

MODES = ("off", "warn", "act")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """One row. `unit` is said behind the range."""

    name: str
    default: float
    low: float
    high: float
    unit: str
    help: str

    @property
    def right(self) -> str:
        """What would be right, in words."""
        return f"a number from {self.low:g} to {self.high:g} ({self.unit})"

    def check(self, value: float) -> float:
        """The value itself. ValueError says what would be right."""
        if not self.low <= value <= self.high:  # no comparison holds for what is not a number
            raise ValueError(self.right)
        return value


DAY = 86_400.0

# Seconds without any movement, without any of the phase's own work, and without a step, picture or sample whatever
# the phase, after which it is stuck.
_PHASES: Mapping[Phase, tuple[float, float, float]] = {
    Phase.STARTING: (600, 1800, 4 * 3600),
    Phase.DOWNLOADING: (600, 3600, DAY),
    Phase.LOADING: (900, 3600, 4 * 3600),
    Phase.CACHING: (600, 1800, 4 * 3600),
    Phase.TRAINING: (600, 1800, 4 * 3600),
    Phase.SAMPLING: (600, 1800, 4 * 3600),
    Phase.SAVING: (1200, 3600, 4 * 3600),
    Phase.FINISHING: (1200, 3600, 4 * 3600),
}


def _phase_limits(phase: Phase, still: float, progress: float, total: float) -> tuple[Limit, ...]:
    return (
        Limit(
            name=f"{phase.value}_still_seconds",
            default=still,
            low=1,
            high=DAY,
            unit="seconds",
            help=f"how long nothing at all may move while it is {phase.value}",
        ),
        Limit(
            name=f"{phase.value}_progress_seconds",
            default=progress,
            low=1,
            high=7 * DAY,
            unit="seconds",
            help=f"how long no work may get done while it is {phase.value}, whatever moves",
        ),
        Limit(
            name=f"{phase.value}_total_seconds",
            default=total,
            low=1,
            high=30 * DAY,
            unit="seconds",
            help=f"how long no step, picture or sample may be finished before it is {phase.value} and while it is",
        ),
    )


LIMITS: Mapping[str, Limit] = {
    limit.name: limit
    for limit in (
        Limit(
            name="interval_seconds",
            default=30,
            low=0.2,
            high=3600,
            unit="seconds",
            help="between two looks of the watchdog at a job",
        ),
        Limit(
            name="gpu_idle_percent",
            default=5,
            low=0,
            high=100,
            unit="per cent",
            help="below this utilisation a GPU is idle",
        ),
        Limit(
            name="gpu_idle_seconds",
            default=300,
            low=1,
            high=DAY,
            unit="seconds",
            help="how long a GPU may be idle in a phase that works on it, while nothing else moves either",
        ),
        Limit(
            name="step_factor",
            default=5,
            low=1,
            high=1000,
            unit="times",
            help="how many times the slowest of the last steps a step may take",
        ),
        Limit(
            name="step_floor_seconds",
            default=300,
            low=1,
            high=DAY,
            unit="seconds",
            help="how long a step may always take, however quick those before it were",
        ),
        Limit(
            name="stopped_seconds",
            default=300,
            low=1,
            high=DAY,
            unit="seconds",
            help="how long its process may be stopped by a signal, or its cgroup frozen",
        ),
        Limit(
            name="gpu_fault_seconds",
            default=300,
            low=1,
            high=DAY,
            unit="seconds",
            help="how long no work may get done after an error that a GPU does not survive",
        ),
        Limit(
            name="without_phase_seconds",
            default=3600,
            low=1,
            high=7 * DAY,
            unit="seconds",
            help="how long nothing at all may move while it is not known what it does, as of a program",
        ),
        *(limit for phase, seconds in _PHASES.items() for limit in _phase_limits(phase, *seconds)),
    )
}


def known(name: str) -> Limit:
    """The limit of this name. KeyError says which there are, or which was meant."""
    if name in LIMITS:
        return LIMITS[name]
    near = difflib.get_close_matches(name, LIMITS, n=1)
    raise KeyError(f"did you mean {near[0]}?" if near else f"known are {', '.join(LIMITS)}.")
