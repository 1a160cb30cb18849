# SPDX-License-Identifier: Apache-2.0
"""What the watchdog does about a job and which limits apply: the job's settings override the configuration, and a
mode that the user set for a limited time overrides both."""

from collections.abc import Mapping

from fluxgym.protocol.messages import Phase, WatchdogMode
from fluxgymd.core.job import Job, PassingMode
from fluxgymd.core.watchdog.limits import WORKS_ON_GPU, Limits, PhaseLimits


def mode(job: Job, configured: str, *, watched: bool, now: float) -> WatchdogMode:
    """What to do about a hang. `watched`: whether jobs of this trainer are watched unless their settings say
    otherwise; `now`: wall clock, so that a mode with a time limit ends however long the daemon was not running."""
    passing = passing_mode(job, now=now)
    if passing is not None:
        return passing.mode
    if job.context.watchdog is not None:
        return job.context.watchdog
    return WatchdogMode(configured) if watched else WatchdogMode.OFF


def passing_mode(job: Job, *, now: float) -> PassingMode | None:
    """The mode that the user has set for a limited time, if that has not ended."""
    return job.passing_mode if job.passing_mode is not None and now < job.passing_mode.until else None


def limits(configured: Mapping[str, float], own: Mapping[str, float] | None) -> Limits:
    """The limits of a job. `configured`: all limits by name (fluxgym/watchdog.py); `own`: those that the job sets."""
    values = {**configured, **(own or {})}
    return Limits(
        interval=values["interval_seconds"],
        gpu_idle_percent=values["gpu_idle_percent"],
        gpu_idle=values["gpu_idle_seconds"],
        step_factor=values["step_factor"],
        step_floor=values["step_floor_seconds"],
        stopped=values["stopped_seconds"],
        gpu_fault=values["gpu_fault_seconds"],
        without_phase=values["without_phase_seconds"],
        phases={phase: _phase(phase, values) for phase in WORKS_ON_GPU},
    )


def _phase(phase: Phase, values: Mapping[str, float]) -> PhaseLimits:
    return PhaseLimits(
        still=values[f"{phase.value}_still_seconds"],
        progress=values[f"{phase.value}_progress_seconds"],
        total=values[f"{phase.value}_total_seconds"],
        works_on_gpu=WORKS_ON_GPU[phase],
    )
