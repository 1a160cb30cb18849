# SPDX-License-Identifier: Apache-2.0
"""How long each phase may take before it is suspicious, and stuck. All times are seconds of the machine being awake.

A phase has two limits. `still`: nothing moves at all, no step, no file, no log line, no processor time, no I/O, no
GPU work. `progress`: whatever moves, nothing of the phase's own work gets done (no step, no picture, no sample, no
byte of the file that is saved). The older program's rule, GPU below 5 % for 300 s, is `gpu_idle`: it counts only
where the phase works on the GPU, and only while nothing else moves either.
"""

from dataclasses import dataclass, field

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


def _defaults() -> dict[Phase, PhaseLimits]:
    return {
        Phase.STARTING: PhaseLimits(still=600, progress=1800, works_on_gpu=False),
        Phase.DOWNLOADING: PhaseLimits(still=600, progress=3600, works_on_gpu=False),
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
    phases: dict[Phase, PhaseLimits] = field(default_factory=_defaults)
