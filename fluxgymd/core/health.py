# SPDX-License-Identifier: Apache-2.0
"""Whether the service's own heartbeat may be sent.

A missed beat must mean that a restart of the daemon would help, and a beat must be impossible while that is so
(daemons.md 3.2). NVML, trainers, slow clients and a full disk are not in here: a restart does not mend them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LOOP_LATE_SECONDS = 5.0
PASS_SECONDS = 30.0
BUS_SECONDS = 30.0
WRITE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Vitals:
    """Ages in seconds, but for the last."""

    loop_late: float
    """How much later than asked the event loop woke up."""
    last_pass: float
    """Since the scheduler finished a pass."""
    bus_answered: float | None
    """Since the bus thread answered; None without a bus thread, or while it reconnects."""
    oldest_write: float
    """Of the oldest disk write that has not come back."""
    failing: Sequence[str] = ()
    """The daemon's own tasks that fail again and again."""


def faults(vitals: Vitals) -> list[str]:
    """What a restart would mend; empty if the beat may be sent."""
    found = []
    if vitals.loop_late > LOOP_LATE_SECONDS:
        found.append(f"the event loop was {vitals.loop_late:.0f} s late")
    if vitals.last_pass > PASS_SECONDS:
        found.append(f"the scheduler has finished no pass for {vitals.last_pass:.0f} s")
    if vitals.bus_answered is not None and vitals.bus_answered > BUS_SECONDS:
        found.append(f"the bus thread has not answered for {vitals.bus_answered:.0f} s")
    if vitals.oldest_write > WRITE_SECONDS:
        found.append(f"a write has been under way for {vitals.oldest_write:.0f} s")
    found += [f"the task {name} fails again and again" for name in vitals.failing]
    return found
