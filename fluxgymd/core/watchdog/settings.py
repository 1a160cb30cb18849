# SPDX-License-Identifier: Apache-2.0
"""What the watchdog does about a job and by which limits: the configuration, with the job's own settings over it."""

from collections.abc import Mapping

from fluxgym.messages import Context, Kind, Phase, WatchdogMode
from fluxgymd.core.watchdog.limits import Limits, PhaseLimits


def mode(context: Context, configured: str) -> WatchdogMode:
    """What is to be done about a hang. A program of the user's is watched only where its job says so: nothing is
    known of its phases, and it may wait for hours because it is meant to."""
    if context.watchdog is not None:
        return context.watchdog
    return WatchdogMode.OFF if context.kind is Kind.PROGRAM else WatchdogMode(configured)


def limits(configured: Mapping[str, float], own: Mapping[str, float] | None) -> Limits:
    """The limits of a job. `configured`: every limit by its name (fluxgym/watchdog.py); `own`: those that the job
    sets itself."""
    values = {**configured, **(own or {})}
    usual = Limits()
    return Limits(
        interval=values["interval_seconds"],
        gpu_idle_percent=values["gpu_idle_percent"],
        gpu_idle=values["gpu_idle_seconds"],
        step_factor=values["step_factor"],
        step_floor=values["step_floor_seconds"],
        stopped=values["stopped_seconds"],
        gpu_fault=values["gpu_fault_seconds"],
        without_phase=values["without_phase_seconds"],
        phases={phase: _phase(phase, before, values) for phase, before in usual.phases.items()},
    )


def _phase(phase: Phase, usual: PhaseLimits, values: Mapping[str, float]) -> PhaseLimits:
    return PhaseLimits(
        still=values[f"{phase.value}_still_seconds"],
        progress=values[f"{phase.value}_progress_seconds"],
        total=values[f"{phase.value}_total_seconds"],
        works_on_gpu=usual.works_on_gpu,
    )
