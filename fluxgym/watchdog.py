# SPDX-License-Identifier: Apache-2.0
"""The limits of the watchdog that users can set, each with a unit and a range: one table for the configuration
(`[watchdog]`), for a job's own `watchdogLimits` and for messages about wrong values. fluxgymd/core/watchdog defines
their meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fluxgym.protocol.messages import Phase
from fluxgym.quoting import hint

MODES = ("off", "warn", "act")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """One row. Messages give `unit` after the range."""

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
        """The value itself if it is in the range. Otherwise ValueError, which says what would be right."""
        if not self.low <= value <= self.high:  # NaN is not in the range either
            raise ValueError(self.right)
        return value


DAY = 86_400.0

FLOOR_SECONDS = 300
"""The shortest default. dstack allows no shorter time window in its rule on low utilisation (`utilization_policy`)
either."""

# After so many seconds a job in this phase is stuck: without any movement; without any work of the phase; without a
# step, picture or sample, in this phase or before.
_PHASES: Mapping[Phase, tuple[float, float, float]] = {
    Phase.STARTING: (600, 1800, 4 * 3600),
    Phase.DOWNLOADING: (600, 3600, DAY),
    # 4 h is enough to load 33 GB at 2.3 MB/s.
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
            help=f"how long nothing at all may move while the job is {phase.value}",
        ),
        Limit(
            name=f"{phase.value}_progress_seconds",
            default=progress,
            low=1,
            high=7 * DAY,
            unit="seconds",
            help=f"how long the job may get no work done while it is {phase.value}, even if something moves",
        ),
        Limit(
            name=f"{phase.value}_total_seconds",
            default=total,
            low=1,
            high=30 * DAY,
            unit="seconds",
            help=f"how long ago the last step, picture or sample may be while the job is {phase.value}",
        ),
    )


LIMITS: Mapping[str, Limit] = {
    limit.name: limit
    for limit in (
        Limit(
            name="interval_seconds",
            default=30,  # as in the older program
            low=0.2,
            high=3600,
            unit="seconds",
            help="the time between two looks of the watchdog at a job",
        ),
        Limit(
            name="gpu_idle_percent",
            default=5,
            low=0,
            high=100,
            unit="per cent",
            help="a GPU below this utilisation counts as idle",
        ),
        Limit(
            name="gpu_idle_seconds",
            default=FLOOR_SECONDS,
            low=1,
            high=DAY,
            unit="seconds",
            help="how long a GPU may be idle in a phase that uses it, while nothing else moves either",
        ),
        Limit(
            name="step_factor",
            default=5,
            low=1,
            high=1000,
            unit="times",
            help="how long a step may take, as a multiple of the slowest recent step",
        ),
        Limit(
            name="step_floor_seconds",
            default=FLOOR_SECONDS,
            low=1,
            high=DAY,
            unit="seconds",
            help="how long any step may take, however quick the earlier ones were",
        ),
        Limit(
            name="stopped_seconds",
            default=FLOOR_SECONDS,
            low=1,
            high=DAY,
            unit="seconds",
            help="how long the job's process may be stopped by a signal, or its cgroup frozen",
        ),
        Limit(
            name="gpu_fault_seconds",
            default=FLOOR_SECONDS,
            low=1,
            high=DAY,
            unit="seconds",
            help="how long the job may get no work done after a fatal GPU error",
        ),
        Limit(
            name="without_phase_seconds",
            default=3600,
            low=1,
            high=7 * DAY,
            unit="seconds",
            help="how long nothing at all may move while the job's phase is unknown, as for a program",
        ),
        *(limit for phase, seconds in _PHASES.items() for limit in _phase_limits(phase, *seconds)),
    )
}


def known(name: str) -> Limit:
    """The limit with this name. KeyError lists the known names, or proposes a similar one."""
    if name in LIMITS:
        return LIMITS[name]
    raise KeyError(hint(name, LIMITS, otherwise=f"the limits are {', '.join(LIMITS)}."))
