# SPDX-License-Identifier: Apache-2.0
"""The service's own heartbeat is withheld for what a restart mends, and for nothing else."""

from typing import Any

import pytest

from fluxgymd.core.health import BUS_SECONDS, LOOP_LATE_SECONDS, PASS_SECONDS, WRITE_SECONDS, Vitals, faults

WELL: dict[str, Any] = {"loop_late": 0.0, "last_pass": 0.0, "bus_answered": 0.0, "oldest_write": 0.0}


@pytest.mark.parametrize("bus", [0.0, BUS_SECONDS, None])
def test_at_its_limits_the_daemon_is_well(bus: float | None) -> None:
    at_limits = Vitals(
        loop_late=LOOP_LATE_SECONDS, last_pass=PASS_SECONDS, bus_answered=bus, oldest_write=WRITE_SECONDS
    )
    assert faults(at_limits) == []


@pytest.mark.parametrize(
    ("vital", "limit", "says"),
    [
        ("loop_late", LOOP_LATE_SECONDS, "the event loop was 6 s late"),
        ("last_pass", PASS_SECONDS, "the scheduler has finished no pass for 31 s"),
        ("bus_answered", BUS_SECONDS, "the bus thread has not answered for 31 s"),
        ("oldest_write", WRITE_SECONDS, "a write has been under way for 61 s"),
    ],
)
def test_each_fault_is_named(vital: str, limit: float, says: str) -> None:
    assert faults(Vitals(**WELL | {vital: limit + 1})) == [says]


def test_a_task_that_fails_again_and_again_is_a_fault() -> None:
    assert faults(Vitals(**WELL, failing=["gpus"])) == ["the task gpus fails again and again"]


def test_all_faults_are_told_together() -> None:
    assert len(faults(Vitals(loop_late=99, last_pass=99, bus_answered=99, oldest_write=99))) == 4
