# SPDX-License-Identifier: Apache-2.0
"""The stop of an attempt, step by step: what is due at each look. Pure; run/stopping.py acts.

First only the trainer's own process gets SIGTERM, so that it can save and exit. At the limit everything of the
attempt is stopped, which ends in SIGKILL at another limit, and whatever is left after that is killed again and again.
A trainer that hangs and has not written its stacks gets SIGABRT before its processes are stopped.

All times are monotonic, in seconds.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

ABORT_SECONDS = 5.0
"""Enough to write the stacks of a few hundred threads."""
KILL_AGAIN_SECONDS = 30.0
"""Between two SIGKILLs: a process that hangs in the kernel may stay for hours."""
KILL_MARGIN_SECONDS = 10.0
"""What the adapter has, beyond the limit, for its own SIGKILL."""


class Due(Enum):
    NOTHING = auto()
    TERMINATE = auto()
    """Send SIGTERM to the trainer. It stays due until `terminated` says that a trainer got it."""
    ABORT = auto()
    """Send SIGABRT to the trainer, so that it writes its stacks."""
    STOP = auto()
    """Stop all processes of the attempt."""
    KILL = auto()
    """Send SIGKILL to whatever is left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """How far a stop is."""

    limit: float
    """Seconds for the trainer to exit on its own."""
    abort: bool
    """The trainer gets SIGABRT at the limit."""
    stop_at: float
    terminated: bool = False
    """The trainer got its SIGTERM."""
    kill_at: float | None = None
    """Set once everything was told to stop."""
    killed_at: float | None = None
    """When whatever was left got its first SIGKILL."""


def begin(limit: float, *, abort: bool, now: float) -> Stop:
    return Stop(limit=limit, abort=abort, stop_at=now + limit)


def step(stop: Stop, *, trainer_ended: bool, now: float) -> tuple[Stop, Due]:
    """What is due now, and the stop's progress once that is done. `trainer_ended`: it needs no time to save."""
    if stop.kill_at is not None:
        if now < stop.kill_at:
            return stop, Due.NOTHING
        return replace(stop, kill_at=now + KILL_AGAIN_SECONDS, killed_at=stop.killed_at or now), Due.KILL
    late = now > stop.stop_at
    if late and stop.abort and not trainer_ended:
        return replace(stop, abort=False, stop_at=now + ABORT_SECONDS), Due.ABORT
    if late or trainer_ended:
        return replace(stop, kill_at=now + stop.limit + KILL_MARGIN_SECONDS), Due.STOP
    return stop, Due.NOTHING if stop.terminated else Due.TERMINATE
