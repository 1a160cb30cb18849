# SPDX-License-Identifier: Apache-2.0
"""Whether the service's own heartbeat may be sent.

A missed beat must mean that a restart of the daemon would help, and a beat must be impossible while that is so
(daemons.md 3.2). NVML, trainers, slow clients, a full disk, a volume that hangs and a bus that is away are not in
here: a restart does not mend them.

The daemon looks LOOKS times in a WatchdogSec, and beats at each look at which all is well *now*: nothing is excused
for a while, for the time that may pass is WatchdogSec itself. An event loop that is blocked does not look, so it does
not beat. What a look can see is seen at the first or the second look after it began, and after RESTART_LOOKS such
looks in a row the daemon asks for the restart: so it too comes within WatchdogSec of the fault, and not of the last
beat (docs/decisions/heartbeat.md). Looks are counted and not seconds: a daemon that gets no processor, or whose
machine sleeps, does not look, and condemns itself for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

LOOKS = 6
"""In a WatchdogSec."""
RESTART_LOOKS = 4
"""With a fault, one after the other."""
PASS_SECONDS = 30.0
"""The one fault that is found later: a pass may wait 20 s for a systemd and a logind that do not answer, and another
comes 5 s after it."""


class Bus(Enum):
    """The bus thread, at a look."""

    NONE = "none"
    """There is none; or it connects again by itself, which a restart would do no better."""
    ANSWERS = "answers"
    SILENT = "silent"
    """What was asked at this look has not come through its queue."""
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vitals:
    """What a look found."""

    loop_busy: float
    """Seconds by which the event loop was late for this look by its own work. Those that it waited for a processor
    are not counted: on a loaded machine a restart makes it worse."""
    last_pass: float
    """Seconds since the scheduler finished a pass."""
    bus: Bus
    write_stands: float
    """Seconds for which a disk write has not moved, and others that began later came back: so it is the write that
    hangs, and not the disk. 0 if there is none."""
    failing: Sequence[str] = ()
    """The daemon's own tasks that fail again and again."""


def faults(vitals: Vitals, *, look_seconds: float) -> list[str]:
    """What a restart would mend; empty if the beat may be sent. `look_seconds`: between two looks."""
    found = []
    if vitals.loop_busy > look_seconds:
        found.append(f"the event loop was {vitals.loop_busy:.0f} s late by its own work")
    if vitals.last_pass > PASS_SECONDS:
        found.append(f"the scheduler has finished no pass for {vitals.last_pass:.0f} s")
    if vitals.bus is Bus.SILENT:
        found.append("the bus thread does not answer")
    if vitals.bus is Bus.ENDED:
        found.append("the bus thread has ended")
    if vitals.write_stands:
        found.append(f"a write has not moved for {vitals.write_stands:.0f} s, and others that began later are done")
    found += [f"the task {name} fails again and again" for name in vitals.failing]
    return found
