# SPDX-License-Identifier: Apache-2.0
"""How long each phase may take before a training is stuck; at half of that it is suspicious. Times are seconds in
which the machine is awake.

A phase has three limits. `still`: nothing moves at all (no step, file, log line, processor time, I/O or GPU work).
`progress`: none of the phase's own work gets done (no step, picture, sample or byte of the file that is saved),
whatever else moves. `total` bounds both: bytes may flow and phases may change, but within this time a step, picture
or sample has to be counted. The older program's rule, GPU below 5 % for 300 s, is `gpu_idle`: it applies only in
phases that work on the GPU, and only while nothing else moves either.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fluxgym.protocol.messages import Phase

WORKS_ON_GPU: Mapping[Phase, bool] = {
    Phase.STARTING: False,
    Phase.DOWNLOADING: False,
    Phase.LOADING: False,
    Phase.CACHING: True,
    Phase.TRAINING: True,
    Phase.SAMPLING: True,
    Phase.SAVING: False,
    Phase.FINISHING: False,
}
"""Every phase that has limits, with whether its work is done on the GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseLimits:
    still: float
    progress: float
    """Applies until the phase has a history of its own in this attempt. Later it is a minimum, in phases whose items
    are not alike."""
    total: float
    """Since a step, picture or sample was last counted, in any phase."""
    works_on_gpu: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Their defaults are in fluxgym/watchdog.py."""

    interval: float
    gpu_idle_percent: float
    gpu_idle: float
    step_factor: float
    """A step may take this many times as long as the slowest of the last `step_history`, and always `step_floor`."""
    step_floor: float
    step_history: int = 100
    stopped: float
    """How long the job's process may be stopped, or its cgroup frozen. To pause it for longer, stop the job."""
    gpu_fault: float
    """How long the job may go without counted work after an error that its GPU doesn't survive."""
    without_phase: float
    """How long nothing at all may move while the phase is unknown: for programs, and trainers that FluxGym doesn't
    understand."""
    phases: Mapping[Phase, PhaseLimits]
