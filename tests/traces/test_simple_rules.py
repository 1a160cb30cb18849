# SPDX-License-Identifier: Apache-2.0
"""Checks that no simple rule passes the collection: each ends a healthy training, and each misses a hang."""

import pytest

from tests.traces.collection import HEALTHY, STUCK
from tests.traces.looking import looks
from tests.traces.simple import SIMPLE, Rule, no_step_for, older_program

HEALTHY_LOOKS = {trace.name: looks(trace.run) for trace in HEALTHY.traces}
STUCK_LOOKS = {trace.name: looks(trace.run) for trace in STUCK.traces}


def shot(rule: Rule) -> set[str]:
    """Returns the healthy traces that a rule ends."""
    return {name for name, seen in HEALTHY_LOOKS.items() if rule(seen) is not None}


def missed(rule: Rule) -> set[str]:
    """Returns the hangs that a rule does not find within the limit plus one interval, or ends before they hang."""
    found = set()
    for trace in STUCK.traces:
        hang, at = 1000 + (trace.run.hang_at or 0), rule(STUCK_LOOKS[trace.name])
        if at is not None and hang <= at <= hang + (trace.within or 0) + 60:
            found.add(trace.name)
    return set(STUCK_LOOKS) - found


@pytest.mark.parametrize("name", SIMPLE)
def test_each_simple_rule_ends_healthy_trainings_and_misses_hangs(name: str) -> None:
    assert len(shot(SIMPLE[name])) >= 3
    assert len(missed(SIMPLE[name])) >= 3


def test_the_model_of_the_older_program_ends_the_runs_that_the_program_ends() -> None:
    """False alarms and misses that users reported."""
    assert {"models_from_a_60_mb_disk", "sha256_of_24_gb", "a_checkpoint_to_a_slow_volume"} <= shot(older_program)
    assert {"nccl_spin", "sysmem_fallback", "a_hang_beside_another_program"} <= missed(older_program)


@pytest.mark.parametrize("minutes", [5, 10, 20, 30, 45, 60, 90, 120, 240])
def test_no_fixed_time_without_a_step_is_right(minutes: int) -> None:
    """A time that is long enough for a slow sample is far too long for a training with quick steps."""
    rule = no_step_for(60.0 * minutes)
    assert shot(rule) or missed(rule)
    assert len(shot(rule)) + len(missed(rule)) >= 10
