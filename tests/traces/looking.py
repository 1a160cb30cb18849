# SPDX-License-Identifier: Apache-2.0
"""Looks at a run as the daemon does, and judges it."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fluxgymd.core.watchdog.judge import judge
from fluxgymd.core.watchdog.limits import Limits
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.core.watchdog.trail import MISSED, begin, follow
from fluxgymd.core.watchdog.verdict import Stuck, Verdict
from tests.traces.simulator import Run

Change = Callable[[int, Observation], Observation | None]
"""A function of a look's number and the look. Returns the changed look, or None if the look is dropped."""


@dataclass(frozen=True)
class Seen:
    """One look, and the verdict after it."""

    at: float
    """Seconds from the start of the run."""
    look: Observation
    verdict: Verdict


def looks(
    run: Run, *, interval: float = 30.0, offset: float = 0.0, change: Change | None = None
) -> list[Observation]:
    """Returns the daemon's looks at a run, from `offset` seconds after its start."""
    made: list[Observation] = []
    at, number, before = offset, 0, None
    while at < run.seconds:
        look = run.look(at, before=before)
        if look is not None and change is not None:
            look = change(number, look)
        if look is not None:
            made.append(look)
            before = at
        at, number = at + interval, number + 1
    return made


def verdicts(observations: Iterable[Observation], limits: Limits) -> Iterator[Seen]:
    trail, first = begin(limits), None
    for look in observations:
        first = look.clock if first is None else first
        trail = follow(trail, look)
        yield Seen(look.clock - first, look, judge(trail, limits))


def first_stuck(observations: Iterable[Observation], limits: Limits) -> tuple[Seen, Stuck] | None:
    """Returns the first look after which the run is judged stuck, with the verdict."""
    for seen in verdicts(observations, limits):
        if isinstance(seen.verdict, Stuck):
            return seen, seen.verdict
    return None


def waited(observations: Iterable[Observation], run: Run, *, until: float, interval: float) -> float:
    """Returns the seconds from the first look at the hang to the look at `until` (CLOCK_MONOTONIC), of which the time
    without looks does not count. The limit is compared with this, so that "within its limit plus one interval" is
    exact."""
    hang = (run.hang_at or 0.0) + 1000.0
    clocks = [look.clock for look in observations if hang <= look.clock <= until]
    gaps = [later - earlier for earlier, later in itertools.pairwise(clocks)]
    return sum(gap if gap <= MISSED * interval else interval for gap in gaps)
