# SPDX-License-Identifier: Apache-2.0
"""A job's limits and its mode: its own settings override the configuration."""

from __future__ import annotations

import pytest

from fluxgym import watchdog
from fluxgym.protocol.messages import Context, Kind, WatchdogMode
from fluxgymd.core.job import Job, apply, fold
from fluxgymd.core.journal import events as e
from fluxgymd.core.watchdog import settings
from fluxgymd.trainers.choice import traits
from tests.core import histories as h
from tests.core.watchdog.usual import DEFAULTS, USUAL


def test_each_limit_reaches_the_judge_and_the_job_overrides_the_configuration() -> None:
    for name, limit in watchdog.LIMITS.items():
        other = limit.high
        assert settings.limits({**DEFAULTS, name: other}, {}) != USUAL, name
        assert settings.limits(DEFAULTS, {name: other}) == settings.limits({**DEFAULTS, name: other}, None), name
        assert settings.limits({**DEFAULTS, name: other}, {name: limit.default}) == USUAL, name


def test_each_name_sets_the_limit_that_it_names() -> None:
    values = {name: float(number) for number, name in enumerate(watchdog.LIMITS)}
    made = settings.limits(values, None)
    assert made.interval == values["interval_seconds"]
    assert (made.gpu_idle_percent, made.gpu_idle) == (values["gpu_idle_percent"], values["gpu_idle_seconds"])
    assert (made.step_factor, made.step_floor) == (values["step_factor"], values["step_floor_seconds"])
    assert (made.stopped, made.gpu_fault) == (values["stopped_seconds"], values["gpu_fault_seconds"])
    assert made.without_phase == values["without_phase_seconds"]
    for phase, limits in made.phases.items():
        assert limits.still == values[f"{phase.value}_still_seconds"]
        assert limits.progress == values[f"{phase.value}_progress_seconds"]
        assert limits.total == values[f"{phase.value}_total_seconds"]


@pytest.mark.parametrize(
    ("own", "kind", "configured", "mode"),
    [
        (None, Kind.TRAINING, "act", WatchdogMode.ACT),
        (None, Kind.TRAINING, "warn", WatchdogMode.WARN),
        (None, None, "off", WatchdogMode.OFF),
        (WatchdogMode.ACT, Kind.TRAINING, "off", WatchdogMode.ACT),
        (None, Kind.PROGRAM, "act", WatchdogMode.OFF),
        (WatchdogMode.WARN, Kind.PROGRAM, "off", WatchdogMode.WARN),
    ],
)
def test_the_job_decides_then_the_configuration_and_programs_are_left_alone(
    own: WatchdogMode | None, kind: Kind | None, configured: str, mode: WatchdogMode
) -> None:
    job = job_with(Context(name="a", kind=kind, watchdog=own))
    assert settings.mode(job, configured, watched=traits(job.context).watched, now=0.0) is mode


def test_a_mode_with_a_time_limit_applies_exactly_until_then() -> None:
    job = apply(job_with(Context(name="a", watchdog=WatchdogMode.ACT)), h.WATCHDOG_OFF)

    def at(now: float) -> WatchdogMode:
        return settings.mode(job, "warn", watched=True, now=now)

    assert [at(3600.0), at(3615.4), at(3615.5), at(1e9)] == [WatchdogMode.OFF] * 2 + [WatchdogMode.ACT] * 2
    assert settings.passing_mode(job, now=3615.4) == job.passing_mode
    assert settings.passing_mode(job, now=3615.5) is None


def job_with(context: Context) -> Job:
    return fold([e.Submitted(at=1.0, id="0" * 32, context=context, rank=1.0)])
