# SPDX-License-Identifier: Apache-2.0
"""Decides whether the daemon may send its own heartbeat to systemd (docs/decisions/heartbeat.md).

A missed beat must mean that a restart of the daemon would help, and while it would help there must be no beat. NVML,
trainers, slow clients, a full disk, a volume that hangs and a bus that is away don't count here, because a restart
doesn't fix them.

The daemon looks LOOKS times in a WatchdogSec, and beats at each look that finds no fault. There are no grace periods:
WatchdogSec itself is the time that may pass. A blocked event loop doesn't look, so it doesn't beat. Any other fault
is found at the first or second look after it began, and after RESTART_LOOKS faulty looks in a row the daemon asks for
its restart. So that restart, too, comes within WatchdogSec of the fault, and not of the last beat. Looks are counted,
not seconds: a daemon that gets no processor time, or whose machine sleeps, doesn't look and so finds no fault in
itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

LOOKS = 6
"""Looks in a WatchdogSec."""
RESTART_LOOKS = 4
"""Faulty looks in a row after which the daemon asks for its restart."""
PASS_SECONDS = 30.0
"""How long the scheduler may go without finishing a pass. This is the only fault that is found later: a pass may wait
20 s for a systemd and a logind that don't answer, and the next pass begins 5 s later."""


class Bus(Enum):
    """The state of the bus thread at a look."""

    NONE = "none"
    """There is no bus thread, or it is reconnecting, which a restart would not speed up."""
    ANSWERS = "answers"
    SILENT = "silent"
    """A question that was asked for this look has not come through its queue."""
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vitals:
    """What a look found."""

    loop_busy: float
    """Seconds by which the event loop was late for this look because of its own work. Time in which it waited for a
    processor doesn't count: on a loaded machine a restart makes things worse."""
    last_pass: float
    """Seconds since the scheduler last finished a pass."""
    bus: Bus
    write_stands: float
    """Seconds for which a disk write has made no progress although a write that began later has finished, so that the
    write hangs and not the disk. 0 if there is none."""
    failing: Sequence[str] = ()
    """Names of the daemon's own tasks that fail repeatedly."""


def faults(vitals: Vitals, *, look_seconds: float) -> list[str]:
    """The faults that a restart would fix, as clauses; empty if the beat may be sent. `look_seconds`: the time
    between two looks."""
    found = []
    if vitals.loop_busy > look_seconds:
        found.append(f"the event loop was {vitals.loop_busy:.0f} s late because of its own work")
    if vitals.last_pass > PASS_SECONDS:
        found.append(f"the scheduler has not finished a pass for {vitals.last_pass:.0f} s")
    if vitals.bus is Bus.SILENT:
        found.append("the bus thread does not answer")
    if vitals.bus is Bus.ENDED:
        found.append("the bus thread has ended")
    if vitals.write_stands:
        found.append(f"a write has made no progress for {vitals.write_stands:.0f} s, but later ones have finished")
    found += [f"the task {name} keeps failing" for name in vitals.failing]
    return found
