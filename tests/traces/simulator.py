# SPDX-License-Identifier: Apache-2.0
"""A simulated training: parts with constant rates, one after the other, and what a look at any moment shows.

Counters are the integrals of the rates, so that a look can be made at any time, and the same run be looked at in many
ways. What each signal models:

* time: CLOCK_MONOTONIC runs through the parts; it stands still while the machine sleeps (`asleep`), as
  clock_gettime(2) says. The wall clock goes on meanwhile, and may be set (`clock_set`).
* step, done, phase, cache files, output bytes: what the trainer tells in metrics.jsonl and leaves in its folder
  (docs/trainer.md); `longest_step` comes of the lines' own times, which are of the wall clock, and of no two steps
  with another phase between them.
* CPU and I/O: cpu.stat of the cgroup and /proc/PID/io (proc(5)), which count system calls and paging alike.
* GPU: NVML's utilisation is the share of time in which any kernel ran, whoever's, so a spinning collective shows 100
  per cent; power tells the difference, but not surely.
* `pressure`: PSI, memory.pressure, full avg10. `blocked`: threads in state D (proc(5)).

Steps and utilisation scatter, by a generator seeded with the run's name: the same on every machine.
"""

import bisect
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from fluxgym.messages import Phase
from fluxgymd.core.gpu import Reading
from fluxgymd.core.watchdog.observation import Activity, Observation

BEGIN = 1_790_000_000.0
"""Wall clock at the start of each run."""
POWER_LIMIT = 450.0
"""Watts, an RTX 4090's."""
SCATTER = 0.1
"""Steps differ by up to this share of their time."""
RATES = ("cpu", "io", "log", "writes", "item_every", "files_every")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of a run in which all rates are constant."""

    seconds: float
    """The machine being awake."""
    phase: Phase | None
    hang: bool = False
    """From here on it will not go on by itself."""
    step_every: float | None = None
    """Seconds between optimizer steps; None: no steps."""
    item_every: float | None = None
    """Seconds between what `done` counts: pictures, samples, micro-steps."""
    files_every: float | None = None
    """Seconds between cache files."""
    writes: float = 0.0
    """Bytes a second that its output grows by; negative where files are removed."""
    log: float = 0.0
    """Bytes a second."""
    cpu: float = 0.0
    """Cores."""
    io: float = 0.0
    """Bytes a second."""
    gpu: int | tuple[int, ...] = 0
    """Per cent, of each GPU."""
    watts: float = 60.0
    throttled: tuple[str, ...] = ()
    nvml: bool = True
    """Whether NVML answers."""
    xid: int | None = None
    """An event that the driver tells as the part begins."""
    lost: bool = False
    blocked: int = 0
    blocked_in: str | None = None
    stopped: bool = False
    frozen: bool = False
    swap: int = 0
    pressure: float | None = 0.0
    on_cpu: bool = False
    """The job has no GPU."""
    told: bool = True
    """Whether the daemon can read what the trainer tells: its files lie on a volume that may hang."""
    disk_free: int = 80 << 30
    """Bytes where the job lies."""
    looked_at: bool = True
    """False: the daemon does not look (it is stopped), or the virtual machine is paused and its clock jumps."""
    asleep: float = 0.0
    """Seconds of suspend before it begins."""
    clock_set: float = 0.0
    """Seconds by which the wall clock is set as it begins."""


class Run:
    """Parts, one after the other."""

    def __init__(self, name: str, parts: Sequence[Part], *, first_step: int = 0) -> None:
        self.name = name
        self.parts = list(parts)
        self._first_step = first_step
        self._ends = list(itertools.accumulate(part.seconds for part in self.parts))

    @property
    def seconds(self) -> float:
        return self._ends[-1]

    @property
    def hang_at(self) -> float | None:
        """Seconds from the start (CLOCK_MONOTONIC) to where it hangs."""
        return next((begin for begin, part in self._placed() if part.hang), None)

    @cached_property
    def steps_at(self) -> list[float]:
        """When each step ends, CLOCK_MONOTONIC."""
        chance = random.Random(self.name)
        times = []
        for begin, part in self._placed():
            if part.step_every is None:
                continue
            at = begin
            while (at := at + part.step_every * chance.uniform(1 - SCATTER, 1 + SCATTER)) <= begin + part.seconds:
                times.append(at)
        return times

    def look(self, at: float, *, before: float | None = None) -> Observation | None:
        """What is seen `at` seconds after the start, if the last look was `before`. None where nobody looks."""
        index = self._index(at)
        part = self.parts[index]
        if not part.looked_at:
            return None
        step = self._first_step + bisect.bisect_right(self.steps_at, at) if self._tells_steps(index) else None
        return Observation(
            at=self.wall(at),
            clock=1000.0 + at,
            phase=part.phase if part.told else None,
            told=part.told,
            step=step if part.told else None,
            total_steps=None if step is None or not part.told else 50_000,
            done=self._done(index, at) if part.told else None,
            longest_step=self._longest_step(before, at) if part.told else None,
            cache_files=int(self._sum("files_every", at)) if part.told else None,
            output_bytes=int(self._sum("writes", at)) if part.told else None,
            log_bytes=int(self._sum("log", at)) + 1 if part.told else 0,
            activity=self._activity(part, at),
            gpus=self._gpus(index, at),
            memory_pressure=part.pressure,
            disk_free=part.disk_free,
        )

    def wall(self, at: float) -> float:
        """The wall clock at a time of CLOCK_MONOTONIC."""
        return BEGIN + at + self._jumped[self._index(at)]

    def _index(self, at: float) -> int:
        """Of the part that `at` lies in."""
        return min(bisect.bisect_right(self._ends, at), len(self.parts) - 1)

    def _placed(self) -> Iterator[tuple[float, Part]]:
        return zip([0.0, *self._ends], self.parts, strict=False)

    @cached_property
    def _jumped(self) -> list[float]:
        """By how much the wall clock is ahead of the other, in each part."""
        return list(itertools.accumulate(part.asleep + part.clock_set for part in self.parts))

    @cached_property
    def _begun_with(self) -> dict[str, list[float]]:
        """Each counter at the beginning of each part."""
        return {
            rate: list(itertools.accumulate((_added(part, rate, part.seconds) for part in self.parts), initial=0.0))
            for rate in RATES
        }

    def _sum(self, rate: str, at: float) -> float:
        index = self._index(at)
        begin = self._ends[index] - self.parts[index].seconds
        return self._begun_with[rate][index] + _added(self.parts[index], rate, at - begin)

    def _tells_steps(self, index: int) -> bool:
        return any(part.step_every or part.phase is Phase.TRAINING for part in self.parts[: index + 1])

    def _done(self, index: int, at: float) -> int | None:
        """Counted anew in each phase."""
        first = index
        while first > 0 and self.parts[first - 1].phase is self.parts[index].phase:
            first -= 1
        if all(part.item_every is None for part in self.parts[first : index + 1]):
            return None
        return int(self._sum("item_every", at) - self._begun_with["item_every"][first])

    def _longest_step(self, before: float | None, at: float) -> float | None:
        if before is None:
            return None
        first = max(0, bisect.bisect_right(self.steps_at, before) - 1)
        steps = self.steps_at[first : bisect.bisect_right(self.steps_at, at)]
        return max(
            (
                self.wall(later) - self.wall(earlier)
                for earlier, later in itertools.pairwise(steps)
                if all(part.phase is Phase.TRAINING for part in self.parts[self._index(earlier) : self._index(later)])
            ),
            default=None,
        )

    def _activity(self, part: Part, at: float) -> Activity:
        return Activity(
            cpu_seconds=self._sum("cpu", at),
            io_bytes=int(self._sum("io", at)),
            threads=24,
            blocked_threads=part.blocked,
            blocked_in=part.blocked_in,
            stopped=part.stopped,
            frozen=part.frozen,
            memory=9 << 30,
            swap=part.swap,
        )

    def _gpus(self, index: int, at: float) -> tuple[Reading, ...] | None:
        part = self.parts[index]
        if part.on_cpu:
            return ()
        if not part.nvml:
            return None
        shown = part.gpu if isinstance(part.gpu, tuple) else (part.gpu,)
        xids = tuple(before.xid for before in self.parts[: index + 1] if before.xid is not None)
        return tuple(
            Reading(
                index=number,
                uuid=f"GPU-{number}",
                name="NVIDIA GeForce RTX 4090",
                memory_total=24 << 30,
                memory_used=None if part.lost else 20 << 30,
                utilization=None if part.lost else _scattered(percent, f"{self.name} {at:.1f} {number}"),
                temperature=None if part.lost else 71,
                power_draw=None if part.lost else part.watts,
                power_limit=None if part.lost else POWER_LIMIT,
                sm_clock=None if part.lost else 2520,
                throttled=None if part.lost else part.throttled,
                xids=xids,
                lost=part.lost,
            )
            for number, percent in enumerate(shown)
        )


def _added(part: Part, rate: str, passed: float) -> float:
    """To a counter, in the first seconds of a part. What comes one by one is counted when it is whole."""
    if rate not in ("item_every", "files_every"):
        return float(getattr(part, rate)) * passed
    every = getattr(part, rate)
    return 0.0 if every is None else float(int(passed / every + 1e-9))


def _scattered(percent: int, seed: str) -> int:
    """Around the mean, and on the same side of the 5 per cent that count as idle."""
    chance = random.Random(seed)
    return (
        min(4, percent + chance.randint(0, 2)) if percent < 5 else max(5, min(100, percent + chance.randint(-4, 4)))
    )
