# SPDX-License-Identifier: Apache-2.0
"""Rules that are simpler than the watchdog's, for comparison on the same traces: the older program's, and one for
each single signal. Each takes the looks and returns the clock of the one at which it would end the training, or None.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

from fluxgymd.core.watchdog.observation import Observation

Rule = Callable[[Sequence[Observation]], float | None]
"""Returns the clock of the look at which the rule ends the training, or None."""

IDLE_PERCENT = 5.0
IDLE_SECONDS = 300.0


def older_program(looks: Sequence[Observation]) -> float | None:
    """Ends the training if the utilisation of GPU 0, read every 30 s, stays below 5 per cent for 300 s of the wall
    clock. A failed reading neither counts nor resets. The rule knows no phase, no progress and no process."""
    idle_since: float | None = None
    for look in looks:
        percent = look.gpus[0].utilization if look.gpus else None
        if percent is None:
            continue
        if percent >= IDLE_PERCENT:
            idle_since = None
        elif idle_since is None:
            idle_since = look.at
        elif look.at - idle_since >= IDLE_SECONDS:
            return look.clock
    return None


def all_gpus_idle(looks: Sequence[Observation]) -> float | None:
    """Ends the training if all its GPUs stay below 5 per cent for 300 s of CLOCK_MONOTONIC. A silent NVML resets."""

    def idle(_: Observation, look: Observation) -> bool:
        known = [gpu.utilization for gpu in look.gpus or () if gpu.utilization is not None]
        return bool(known) and max(known) < IDLE_PERCENT

    return _quiet_for(looks, IDLE_SECONDS, idle)


def log_stands_still(looks: Sequence[Observation]) -> float | None:
    """Ends the training if the log has not grown for 10 minutes."""
    return _quiet_for(looks, 600, lambda before, look: look.log_bytes <= before.log_bytes)


def processor_rests(looks: Sequence[Observation]) -> float | None:
    """Ends the training if it uses less than 5 per cent of a core for 10 minutes."""

    def rests(before: Observation, look: Observation) -> bool:
        if before.activity is None or look.activity is None:
            return False
        used = (look.activity.cpu_seconds or 0.0) - (before.activity.cpu_seconds or 0.0)
        return used < 0.05 * (look.clock - before.clock)

    return _quiet_for(looks, 600, rests)


def no_step_for(seconds: float) -> Rule:
    """Returns a rule that ends the training if it makes no step for a fixed time, whatever the phase."""

    def rule(looks: Sequence[Observation]) -> float | None:
        return _quiet_for(looks, seconds, lambda before, look: look.step == before.step)

    return rule


SIMPLE: Mapping[str, Rule] = {
    "the older program": older_program,
    "all GPUs idle for 5 min": all_gpus_idle,
    "log silent for 10 min": log_stands_still,
    "processor idle for 10 min": processor_rests,
    "no step for 5 min": no_step_for(300),
    "no step for 10 min": no_step_for(600),
    "no step for 30 min": no_step_for(1800),
}


def _quiet_for(
    looks: Sequence[Observation], seconds: float, quiet: Callable[[Observation, Observation], bool]
) -> float | None:
    """Returns the clock of the first look up to which all looks were quiet, compared with the one before, for this
    long."""
    since: float | None = None
    for before, look in itertools.pairwise(looks):
        if not quiet(before, look):
            since = None
        elif since is None:
            since = before.clock
        if since is not None and look.clock - since >= seconds:
            return look.clock
    return None
