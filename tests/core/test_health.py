# SPDX-License-Identifier: Apache-2.0
"""The daemon withholds its own heartbeat for faults that a restart fixes, and for nothing else."""

from typing import Any

import pytest

from fluxgymd.core.health import LOOKS, PASS_SECONDS, RESTART_LOOKS, Bus, Vitals, faults

LOOK = 5.0
WELL: dict[str, Any] = {"loop_busy": 0.0, "last_pass": 0.0, "bus": Bus.ANSWERS, "write_stands": 0.0}


@pytest.mark.parametrize("bus", [Bus.ANSWERS, Bus.NONE])
def test_the_daemon_is_healthy_at_its_limits(bus: Bus) -> None:
    at_limits = Vitals(loop_busy=LOOK, last_pass=PASS_SECONDS, bus=bus, write_stands=0.0)
    assert faults(at_limits, look_seconds=LOOK) == []


@pytest.mark.parametrize(
    ("vital", "value", "says"),
    [
        ("loop_busy", LOOK + 1, "the event loop was 6 s late because of its own work"),
        ("last_pass", PASS_SECONDS + 1, "the scheduler has not finished a pass for 31 s"),
        ("bus", Bus.SILENT, "the bus thread does not answer"),
        ("bus", Bus.ENDED, "the bus thread has ended"),
        ("write_stands", 4.0, "a write has made no progress for 4 s, but later ones have finished"),
        ("failing", ["gpus"], "the task gpus keeps failing"),
    ],
)
def test_each_fault_is_named(vital: str, value: Any, says: str) -> None:
    assert faults(Vitals(**WELL | {vital: value}), look_seconds=LOOK) == [says]


def test_all_faults_are_reported_together() -> None:
    sick = Vitals(loop_busy=99, last_pass=99, bus=Bus.SILENT, write_stands=99)
    assert len(faults(sick, look_seconds=LOOK)) == 4


def test_a_fault_that_the_second_look_finds_leads_to_a_restart_within_watchdogsec() -> None:
    assert 2 + (RESTART_LOOKS - 1) < LOOKS
