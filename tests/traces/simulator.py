# SPDX-License-Identifier: Apache-2.0
"""A simulated training: consecutive parts with constant rates, and the look at any moment.

Counters are the integrals of the rates, so a look can be made at any time, and the same run can be watched in many
ways. What each signal models:

* time: CLOCK_MONOTONIC runs through the parts, but stands still while the machine is suspended (`asleep`), as
  clock_gettime(2) says. The wall clock continues to run then, and may be set (`clock_set`).
* step, done, phase, cache files, output bytes: what the trainer reports in metrics.jsonl and writes to its folder
  (docs/trainer.md). `longest_step` comes from the times in those lines, which are of the wall clock, and only from
  consecutive steps without another phase between them.
* CPU and I/O: cpu.stat of the cgroup, and the bytes that `io_bytes` of core/watchdog/observation.py counts: reads of
  /proc, pipes and sockets do not add to `io`.
* GPU: NVML's utilisation is the share of time in which a kernel of any process ran. So a spinning collective shows
  100 per cent; it usually draws less power, but that is not proof. `on_gpu`: the pids of its compute processes.
* `pressure`: PSI, memory.pressure, full avg10. `blocked`: threads in state D (proc(5)).

The times of steps and the utilisation vary at random, with a generator seeded with the run's name, so they are the
same on every machine.
"""

import bisect
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from fluxgym.protocol.messages import Phase
from fluxgymd.core.gpu import Reading
from fluxgymd.core.watchdog.observation import Activity, Listed, Observation

BEGIN = 1_790_000_000.0
"""The wall clock at the start of each run, in seconds since the Unix epoch."""
POWER_LIMIT = 450.0
"""Watts, as on an RTX 4090."""
SCATTER = 0.1
"""The time of a step varies by up to this share."""
OWN, STRANGER, ELSEWHERE = 4711, 815, 3_000_000
"""Pids: of the job, of another program here, and of a process outside this pid namespace, such as a pod's host."""
RATES = ("cpu", "io", "log", "writes", "item_every", "files_every")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of a run in which all rates are constant."""

    seconds: float
    """Seconds in which the machine is awake."""
    phase: Phase | None
    hang: bool = False
    """Whether the run hangs from here on and will not continue on its own."""
    step_every: float | None = None
    """Seconds between optimizer steps; None: no steps."""
    repeats: int | None = None
    """The trainer reports this many steps repeatedly, from 0, instead of new ones."""
    item_every: float | None = None
    """Seconds between the items that `done` counts: pictures, samples, micro-steps."""
    files_every: float | None = None
    """Seconds between cache files."""
    writes: float = 0.0
    """Bytes per second by which the output grows; negative if files are removed."""
    log: float = 0.0
    """Bytes per second."""
    cpu: float = 0.0
    """Cores."""
    io: float = 0.0
    """Bytes per second."""
    gpu: int | tuple[int, ...] = 0
    """Per cent, of each GPU."""
    on_gpu: tuple[int, ...] | None = (OWN,)
    """The pids that NVML lists for each GPU. None: this driver lists no processes."""
    watts: float = 60.0
    throttled: tuple[str, ...] = ()
    nvml: bool = True
    """Whether NVML answers."""
    xid: int | None = None
    """The number of an Xid event that the driver reports as the part begins."""
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
    """Whether the daemon can read the trainer's files, which may be on a volume that hangs."""
    seen: bool = True
    """Whether the job's processes can be listed and read."""
    disk_free: int = 80 << 30
    """Free bytes on the job's disk."""
    looked_at: bool = True
    """False: the daemon is stopped, or the virtual machine is paused and its clock jumps, so no look is made."""
    asleep: float = 0.0
    """Seconds for which the machine is suspended before the part begins."""
    clock_set: float = 0.0
    """Seconds by which the wall clock is set as the part begins."""


class Run:
    """A simulated run of consecutive parts."""

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
        """Seconds from the start to the hang, by CLOCK_MONOTONIC. None: the run does not hang."""
        return next((begin for begin, part in self._placed() if part.hang), None)

    @cached_property
    def steps_at(self) -> list[float]:
        """The end of each step, in seconds from the start (CLOCK_MONOTONIC)."""
        chance = random.Random(self.name)
        times = []
        for begin, part in self._placed():
            if part.step_every is None or part.repeats is not None:
                continue
            at = begin
            while (at := at + part.step_every * chance.uniform(1 - SCATTER, 1 + SCATTER)) <= begin + part.seconds:
                times.append(at)
        return times

    def look(self, at: float, *, before: float | None = None) -> Observation | None:
        """Returns the look `at` seconds after the start, if the last one was at `before`; None if there is none."""
        index = self._index(at)
        part = self.parts[index]
        if not part.looked_at:
            return None
        step = self._step(index, at) if self._tells_steps(index) else None
        return Observation(
            at=self.wall(at),
            clock=1000.0 + at,
            phase=part.phase if part.told else None,
            told=part.told,
            step=step if part.told else None,
            highest_step=self._highest_step(at) if step is not None and part.told else None,
            total_steps=None if step is None or not part.told else 50_000,
            done=self._done(index, at) if part.told else None,
            longest_step=self._longest_step(before, at) if part.told else None,
            cache_files=int(self._sum("files_every", at)) if part.told else None,
            output_bytes=int(self._sum("writes", at)) if part.told else None,
            log_bytes=int(self._sum("log", at)) + 1 if part.told else 0,
            activity=self._activity(part, at) if part.seen else None,
            gpus=self._gpus(index, at),
            listed=_listed(part.on_gpu or ()) if part.seen else None,
            memory_pressure=part.pressure,
            disk_free=part.disk_free,
        )

    def wall(self, at: float) -> float:
        """Returns the wall clock `at` seconds after the start (CLOCK_MONOTONIC)."""
        return BEGIN + at + self._jumped[self._index(at)]

    def _index(self, at: float) -> int:
        """Returns the index of the part that contains `at`."""
        return min(bisect.bisect_right(self._ends, at), len(self.parts) - 1)

    def _placed(self) -> Iterator[tuple[float, Part]]:
        return zip([0.0, *self._ends], self.parts, strict=False)

    @cached_property
    def _jumped(self) -> list[float]:
        """Seconds by which sleep and clock changes have advanced the wall clock, in each part."""
        return list(itertools.accumulate(part.asleep + part.clock_set for part in self.parts))

    @cached_property
    def _begun_with(self) -> dict[str, list[float]]:
        """Each counter at the start of each part, by the name of its rate."""
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

    def _step(self, index: int, at: float) -> int:
        part = self.parts[index]
        if part.repeats is not None and part.step_every is not None:
            return int((at - self._ends[index] + part.seconds) / part.step_every) % part.repeats
        return self._first_step + bisect.bisect_right(self.steps_at, at)

    def _highest_step(self, at: float) -> int:
        """Returns the highest step that was reported up to a time, repeated ones included."""
        told = [self._first_step + bisect.bisect_right(self.steps_at, at)]
        for begin, part in self._placed():
            if part.repeats is not None and part.step_every is not None and begin <= at:
                told.append(min(part.repeats - 1, int(min(at - begin, part.seconds) / part.step_every)))
        return max(told)

    def _done(self, index: int, at: float) -> int | None:
        """Returns the number of items done in the present phase; None if it has none."""
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
                processes=None if part.lost else part.on_gpu,
                xids=xids,
                lost=part.lost,
            )
            for number, percent in enumerate(shown)
        )


def _listed(pids: tuple[int, ...]) -> Listed:
    own, here = (tuple(pid for pid in pids if pid in among) for among in ({OWN}, {OWN, STRANGER}))
    return Listed(own=own, here=here)


def _added(part: Part, rate: str, passed: float) -> float:
    """Returns what a part's first `passed` seconds add to a counter. Items and files count when they are complete."""
    if rate not in ("item_every", "files_every"):
        return float(getattr(part, rate)) * passed
    every = getattr(part, rate)
    return 0.0 if every is None else float(int(passed / every + 1e-9))


def _scattered(percent: int, seed: str) -> int:
    """Returns a utilisation near `percent`, on the same side of the 5 per cent below which a GPU counts as idle."""
    chance = random.Random(seed)
    return (
        min(4, percent + chance.randint(0, 2)) if percent < 5 else max(5, min(100, percent + chance.randint(-4, 4)))
    )
