# SPDX-License-Identifier: Apache-2.0
"""What the watchdog does about a job and which limits apply: the configuration, overridden by the job's settings."""

from collections.abc import Mapping

from fluxgym.messages import Context, Phase, WatchdogMode
from fluxgymd.core.watchdog.limits import WORKS_ON_GPU, Limits, PhaseLimits


def mode(context: Context, configured: str, *, watched: bool) -> WatchdogMode:
    """What to do about a hang. `watched`: whether jobs of this trainer are watched unless their settings say
    otherwise."""
    if context.watchdog is not None:
        return context.watchdog
    return WatchdogMode(configured) if watched else WatchdogMode.OFF


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
