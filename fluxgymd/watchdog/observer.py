# SPDX-License-Identifier: Apache-2.0
"""Looks at a live attempt: its progress, its files, its processes and its GPUs.

A look never exceeds its deadlines and never blocks the event loop. What does not answer is unknown: if a volume
hangs, the files of its job are; if the driver hangs, the GPUs are. Neither affects the other.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from fluxgymd.attempts import processes
from fluxgymd.attempts.port import Adapter
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Attempt
from fluxgymd.core.watchdog.observation import Activity, Listed, Observation
from fluxgymd.gpus.machine import Gpus
from fluxgymd.jobs.spec import attempt_ref
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.port import Trainer
from fluxgymd.watchdog.activity import ActivityReader, memory_pressure
from fluxgymd.watchdog.files import Files, Seen
from fluxgymd.watchdog.lane import Lane, in_thread

DEADLINE_SECONDS = 10.0
"""For the files and for the processes, each."""
GPU_DEADLINE_SECONDS = 20.0
"""A little more than the helper's deadline, since another job's question may have begun before. A shorter interval
shortens it: with a driver that hangs each look waits for it, and looks that come too late count as a gap."""
SHORTEST_SECONDS = 2.0
"""The smallest deadline for the GPUs, however short the interval: on a loaded host NVML may take this long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doing:
    """What the processes of an attempt do."""

    pids: frozenset[int]
    activity: Activity
    pressure: float | None


class Observer:
    """The looks at one attempt, one at a time."""

    def __init__(
        self,
        *,
        folder: JobFolder,
        attempt: Attempt,
        trainer: Trainer,
        adapter: Adapter,
        gpus: Gpus,
        interval: float,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """`attempt`: the attempt once its trainer runs. `interval`: seconds between two looks; jobs whose looks come
        within half of it share NVML's answer."""
        self._attempt = attempt
        self._ref = attempt_ref(attempt, folder.attempt(attempt.number))
        self._adapter = adapter
        self._gpus = gpus
        self._interval = interval
        self._files = Files(folder, attempt, trainer)
        self._activity = ActivityReader()
        self._seen = Seen()
        self._files_lane = Lane[Seen](deadline_seconds=deadline_seconds)
        self._activity_lane = Lane[Doing](deadline_seconds=deadline_seconds)
        self._gpus_lane = Lane[tuple[Reading, ...]](
            deadline_seconds=min(GPU_DEADLINE_SECONDS, max(SHORTEST_SECONDS, interval))
        )

    async def observe(self) -> Observation:
        """Makes one look. Only one may be under way at a time.

        The look carries the time at which it began, since the counters are read then, and only a driver that hangs
        takes longer. With the time of its end, the next look, which does not wait, would seem to follow at once, and
        what was used between the two would seem to be used in no time.
        """
        at, clock = time.time(), time.monotonic()
        seen, doing, gpus = await asyncio.gather(
            self._files_lane.run(lambda: in_thread(self._files.look)),
            self._activity_lane.run(self._doing),
            self._readings(),
        )
        self._seen = seen if seen is not None else self._last_told()
        return Observation(
            at=at,
            clock=clock,
            phase=self._seen.phase,
            told=self._seen.told,
            untold_why=self._seen.untold_why,
            step=self._seen.step,
            highest_step=self._seen.highest_step,
            total_steps=self._seen.total_steps,
            done=self._seen.done,
            longest_step=self._seen.longest_step,
            cache_files=self._seen.cache_files,
            output_bytes=self._seen.output_bytes,
            log_bytes=self._seen.log_bytes,
            activity=doing.activity if doing is not None else None,
            gpus=gpus,
            listed=_listed(gpus, doing.pids) if gpus and doing is not None and doing.pids else None,
            memory_pressure=doing.pressure if doing is not None else None,
            disk_free=self._seen.disk_free,
        )

    def close(self) -> None:
        """Ends the looks. Work that hangs is left alone."""
        for lane in (self._files_lane, self._activity_lane, self._gpus_lane):
            lane.close()

    def _last_told(self) -> Seen:
        """The values that are kept while the volume does not answer: what the trainer reported last, and the length
        of its log."""
        return Seen(
            told=False,
            phase=self._seen.phase,
            step=self._seen.step,
            highest_step=self._seen.highest_step,
            total_steps=self._seen.total_steps,
            done=self._seen.done,
            log_bytes=self._seen.log_bytes,
        )

    async def _doing(self) -> Doing:
        members = await self._adapter.processes(self._ref)
        trainer = self._attempt.trainer
        group = self._ref.placement.cgroup if self._ref.placement is not None else None

        def look() -> Doing:
            return Doing(
                pids=frozenset(member.pid for member in members),
                activity=self._activity.look(members, trainer=trainer, group=group),
                pressure=memory_pressure(group, trainer),
            )

        return await in_thread(look)

    async def _readings(self) -> tuple[Reading, ...] | None:
        if not self._attempt.gpus:
            return ()
        fresh = await self._gpus_lane.run(lambda: self._gpus.ask(max_age=self._interval / 2))
        return self._gpus.of(self._attempt.gpus) if fresh is not None else None


def _listed(gpus: Iterable[Reading], own: frozenset[int]) -> Listed:
    """Which pids on the GPUs are the attempt's, and which exist on this machine. `own`: the attempt's pids."""
    pids = {pid for gpu in gpus for pid in gpu.processes or ()}
    return Listed(own=tuple(sorted(pids & own)), here=tuple(sorted(filter(processes.exists, pids))))
