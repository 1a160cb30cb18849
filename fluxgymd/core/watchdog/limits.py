# SPDX-License-Identifier: Apache-2.0
"""How long each phase may take before it is suspicious (half of it), and stuck. Times are seconds of the machine
being awake.

A phase has two limits. `still`: nothing moves at all, no step, no file, no log line, no processor time, no I/O, no
GPU work. `progress`: whatever moves, nothing of the phase's own work gets done (no step, no picture, no sample, no
byte of the file that is saved). `total` bounds both: bytes may flow and phases may change, but in this time one step,
picture or sample has to be counted. The older program's rule, GPU below 5 % for 300 s, is `gpu_idle`: it counts only
where the phase works on the GPU, and only while nothing else moves either.
"""

from dataclasses import dataclass, field, replace

from fluxgym.messages import Phase

INTERVAL_SECONDS = 30.0
"""Between two looks; the older program's."""
FLOOR_SECONDS = 300.0
"""No rule is quicker than this: dstack's floor for a rule on low utilisation (daemons.md 3.7)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseLimits:
    still: float
    progress: float
    """Before this phase has a history of its own in this attempt, and at least this long afterwards for the phases
    whose items are not alike."""
    works_on_gpu: bool
    total: float = 4 * 3600
    """Since a step, picture or sample was counted in whatever phase. 4 h: a 33 GB load at 2.3 MB/s."""


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
    """A step may take this many times the slowest of the last `step_history`, and never less than the floor."""
    step_floor: float = FLOOR_SECONDS
    step_history: int = 100
    stopped: float = FLOOR_SECONDS
    """How long its process may be stopped, or its cgroup frozen: who pauses it for longer stops the job."""
    gpu_fault: float = FLOOR_SECONDS
    """How long it may go without a step after an error that its GPU does not survive."""
    without_phase: float = 3600.0
    """How long nothing at all may move while its phase is not known: a program, a trainer that is not understood."""
    phases: dict[Phase, PhaseLimits] = field(default_factory=_defaults)


def scaled(limits: Limits, factor: float) -> Limits:
    """The same limits for time that passes 1/`factor` times as fast: for traces that were recorded quickly."""
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
