# SPDX-License-Identifier: Apache-2.0
"""How long each phase may take before a training is stuck; at half of that it is suspicious. Times are seconds in
which the machine is awake.

A phase has three limits. `still`: nothing moves at all (no step, file, log line, processor time, I/O or GPU work).
`progress`: none of the phase's own work gets done (no step, picture, sample or byte of the file that is saved),
whatever else moves. `total` bounds both: bytes may flow and phases may change, but within this time a step, picture
or sample has to be counted. The older program's rule, GPU below 5 % for 300 s, is `gpu_idle`: it applies only in
phases that work on the GPU, and only while nothing else moves either.
"""

from dataclasses import dataclass, field, replace

from fluxgym.messages import Phase

INTERVAL_SECONDS = 30.0
"""The time between two looks, as in the older program."""
FLOOR_SECONDS = 300.0
"""The shortest default limit. dstack allows no shorter time window in its rule on low utilisation
(`utilization_policy`) either."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseLimits:
    still: float
    progress: float
    """Applies until the phase has a history of its own in this attempt. Later it is a minimum, in phases whose items
    are not alike."""
    works_on_gpu: bool
    total: float = 4 * 3600
    """Since a step, picture or sample was last counted, in any phase. 4 h is enough to load 33 GB at 2.3 MB/s."""


def _defaults() -> dict[Phase, PhaseLimits]:
    return {
        Phase.STARTING: PhaseLimits(still=600, progress=1800, works_on_gpu=False),
        Phase.DOWNLOADING: PhaseLimits(still=600, progress=3600, works_on_gpu=False, total=24 * 3600),
        Phase.LOADING: PhaseLimits(still=900, progress=3600, works_on_gpu=False),
        Phase.CACHING: PhaseLimits(still=600, progress=1800, works_on_gpu=True),
        Phase.TRAINING: PhaseLimits(still=600, progress=1800, works_on_gpu=True),
        Phase.SAMPLING: PhaseLimits(still=600, progress=1800, works_on_gpu=True),
        Phase.SAVING: PhaseLimits(still=1200, progress=3600, works_on_gpu=False),
        Phase.FINISHING: PhaseLimits(still=1200, progress=3600, works_on_gpu=False),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    interval: float = INTERVAL_SECONDS
    gpu_idle_percent: float = 5.0
    gpu_idle: float = 300.0
    step_factor: float = 5.0
    """A step may take this many times as long as the slowest of the last `step_history`, and always `step_floor`."""
    step_floor: float = FLOOR_SECONDS
    step_history: int = 100
    stopped: float = FLOOR_SECONDS
    """How long the job's process may be stopped, or its cgroup frozen. To pause it for longer, stop the job."""
    gpu_fault: float = FLOOR_SECONDS
    """How long the job may go without counted work after an error that its GPU doesn't survive."""
    without_phase: float = 3600.0
    """How long nothing at all may move while the phase is unknown: for programs, and trainers that FluxGym doesn't
    understand."""
    phases: dict[Phase, PhaseLimits] = field(default_factory=_defaults)


def scaled(limits: Limits, factor: float) -> Limits:
    """All times multiplied by `factor`, for traces that were recorded at another speed."""
    return replace(
        limits,
        interval=limits.interval * factor,
        gpu_idle=limits.gpu_idle * factor,
        step_floor=limits.step_floor * factor,
        stopped=limits.stopped * factor,
        gpu_fault=limits.gpu_fault * factor,
        without_phase=limits.without_phase * factor,
        phases={
            phase: replace(of, still=of.still * factor, progress=of.progress * factor, total=of.total * factor)
            for phase, of in limits.phases.items()
        },
    )
