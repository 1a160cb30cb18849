# SPDX-License-Identifier: Apache-2.0
"""Decides whether the steps of an attempt have become slow. That is only reported; nothing acts on it.

Single steps differ: a picture of a higher resolution takes several times as long, and a step after a save waits for
the disk. So stretches of steps are compared, by the mean time of their steps, and the usual time is the median of the
earlier stretches. One long stretch is an exception; two in a row mean that the steps are slow, until a stretch is not
slow any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median

STRETCH_STEPS = 20
STRETCH_SECONDS = 10.0
"""A stretch has at least this many steps, and takes at least this long: even with fast steps, a one-second pause of
the machine must not make up more than a tenth of a stretch."""
NEEDED = 3
"""How many stretches it takes until the usual time is known. The first stretch of an attempt never counts: it
compiles kernels and fills caches."""
KEPT = 1000
"""How many stretches the usual time is the median of: the newest ones that were not slow."""
FACTOR = 2.0
"""A stretch is slow from this multiple of the usual time on."""
RECOVERED = 1.5
"""The steps are no longer slow below this multiple of the usual time. Between the two, nothing changes."""
IN_A_ROW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """One step, or several if they were not reported individually. No other phase came in between."""

    at: float
    """When the last of them ended (wall clock)."""
    seconds: float
    """Their total time in seconds."""
    steps: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    since: float
    """When the first slow stretch began (wall clock)."""
    seconds_per_step: float
    """The mean of the last stretch."""
    usual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What is known about the steps of one attempt."""

    steps: int = 0
    seconds: float = 0.0
    """The number of steps in the present stretch, and their total time."""
    began: float = 0.0
    warm: bool = False
    """Whether the first stretch is over."""
    usual: tuple[float, ...] = ()
    """The means of the stretches that were not slow."""
    in_a_row: int = 0
    """Consecutive stretches that were slow."""
    since: float = 0.0
    """When the first of them began."""
    slow: Slow | None = None


def follow(pace: Pace, times: Iterable[StepTime]) -> Pace:
    """The pace after more steps."""
    for time in times:
        began = pace.began if pace.steps else time.at - time.seconds
        pace = replace(pace, steps=pace.steps + time.steps, seconds=pace.seconds + time.seconds, began=began)
        if pace.steps >= STRETCH_STEPS and pace.seconds >= STRETCH_SECONDS:
            pace = _closed(pace)
    return pace


def _closed(pace: Pace) -> Pace:
    """The pace at the end of a stretch."""
    mean = pace.seconds / pace.steps
    fresh = replace(pace, steps=0, seconds=0.0, warm=True)
    if not pace.warm:
        return fresh
    if len(pace.usual) < NEEDED:
        return replace(fresh, usual=(*pace.usual, mean))
    usual = median(pace.usual)
    if mean >= usual * (RECOVERED if pace.slow is not None else FACTOR):
        in_a_row = pace.in_a_row + 1
        since = pace.since if pace.in_a_row else pace.began
        slow = Slow(since=since, seconds_per_step=mean, usual=usual) if in_a_row >= IN_A_ROW else None
        return replace(fresh, in_a_row=in_a_row, since=since, slow=slow)
    return replace(fresh, usual=(*pace.usual, mean)[-KEPT:], in_a_row=0, slow=None)
