# SPDX-License-Identifier: Apache-2.0
"""A job's limits and its mode: its own settings override the configuration."""

from __future__ import annotations

import pytest

from fluxgym import watchdog
from fluxgym.messages import Context, Kind, WatchdogMode
from fluxgymd.core.watchdog import settings
from fluxgymd.trainers.choice import traits
from tests.core.watchdog.usual import DEFAULTS, USUAL


def test_each_limit_reaches_the_judge_and_the_job_stands_over_the_configuration() -> None:
    for name, limit in watchdog.LIMITS.items():
        other = limit.high
        assert settings.limits({**DEFAULTS, name: other}, {}) != USUAL, name
        assert settings.limits(DEFAULTS, {name: other}) == settings.limits({**DEFAULTS, name: other}, None), name
        assert settings.limits({**DEFAULTS, name: other}, {name: limit.default}) == USUAL, name


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
    job = Context(name="a", kind=kind, watchdog=own)
    assert settings.mode(job, configured, watched=traits(job).watched) is mode
