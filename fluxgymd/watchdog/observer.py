# SPDX-License-Identifier: Apache-2.0
"""One look at a live attempt: its progress, its files, its processes, its GPUs.

A look never takes longer than its deadlines, and never blocks the event loop. What does not answer is unknown: a hung
volume hides what the files tell of its own job, a hung driver what the GPUs do, and neither hides the other.
"""

import asyncio
import time
from pathlib import Path

from fluxgym.messages import Kind
from fluxgymd.attempts.port import Adapter
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Attempt
from fluxgymd.core.watchdog.limits import INTERVAL_SECONDS
from fluxgymd.core.watchdog.observation import Activity, Observation
from fluxgymd.engine.spec import attempt_ref
from fluxgymd.gpus.machine import Gpus
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.attempt_progress import AttemptProgress
from fluxgymd.watchdog.activity import ActivityReader, memory_pressure
from fluxgymd.watchdog.files import Files, Seen
from fluxgymd.watchdog.lane import Lane, in_thread

DEADLINE_SECONDS = 10.0
"""For the files and for the processes, each."""
GPU_DEADLINE_SECONDS = 20.0
"""A little more than a helper has for an answer; who asks for other jobs may have begun before. Never more than an
interval: a driver that hangs makes each question wait so long, and looks that come too late count as a gap."""
SHORTEST_SECONDS = 2.0
"""An answer of NVML takes so long on a loaded host, however short the interval is."""

Doing = tuple[Activity, float | None]
"""What its processes do, and the memory pressure."""


class Observer:
    """The looks at one attempt, one at a time."""

    def __init__(
        self,
        *,
        folder: JobFolder,
        attempt: Attempt,
        kind: Kind | None,
        trainer: Path,
        adapter: Adapter,
        gpus: Gpus,
        interval: float = INTERVAL_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """`attempt`: as it is once its trainer runs. `trainer`: where the trainer of this machine lies. `interval`:
        seconds between two looks; jobs that are looked at within half of it share an answer of NVML."""
        self._attempt = attempt
        self._ref = attempt_ref(attempt, folder.attempt(attempt.number))
        self._adapter = adapter
        self._gpus = gpus
        self._interval = interval
        progress = AttemptProgress(folder, attempt, kind)
        self._files = Files(folder, progress, trainer=trainer if kind is not Kind.PROGRAM else None)
        self._activity = ActivityReader()
        self._seen = Seen()
        self._files_lane = Lane[Seen](deadline_seconds=deadline_seconds)
        self._activity_lane = Lane[Doing](deadline_seconds=deadline_seconds)
        self._gpus_lane = Lane[tuple[Reading, ...]](
            deadline_seconds=min(GPU_DEADLINE_SECONDS, max(SHORTEST_SECONDS, interval))
        )

    async def observe(self) -> Observation:
        """One look, of the time at which it began: its counters are read at once, and only a driver that hangs is
        waited for. By the time of its end the next look, which does not wait, would seem to come right after it, and
        what was used between the two to be used in no time. Two at the same time are not allowed."""
        at, clock = time.time(), time.monotonic()
        seen, doing, gpus = await asyncio.gather(
            self._files_lane.run(lambda: in_thread(self._files.look)),
            self._activity_lane.run(self._doing),
            self._readings(),
        )
        activity, pressure = doing if doing is not None else (None, None)
        self._seen = seen if seen is not None else self._last_told()
        return Observation(
            at=at,
            clock=clock,
            phase=self._seen.phase,
            told=seen is not None,
            step=self._seen.step,
            total_steps=self._seen.total_steps,
            done=self._seen.done,
            longest_step=self._seen.longest_step,
            cache_files=self._seen.cache_files,
            output_bytes=self._seen.output_bytes,
            log_bytes=self._seen.log_bytes,
            activity=activity,
            gpus=gpus,
            memory_pressure=pressure,
            disk_free=self._seen.disk_free,
        )

    def close(self) -> None:
        """No look follows. What hangs is left alone."""
        for lane in (self._files_lane, self._activity_lane, self._gpus_lane):
            lane.close()

    def _last_told(self) -> Seen:
        """What stays true while the volume does not answer: what the trainer told last, and how long its log was."""
        return Seen(
            phase=self._seen.phase,
            step=self._seen.step,
            total_steps=self._seen.total_steps,
            done=self._seen.done,
            log_bytes=self._seen.log_bytes,
        )

    async def _doing(self) -> Doing:
        members = await self._adapter.processes(self._ref)
        trainer = self._attempt.trainer
        group = self._ref.placement.cgroup if self._ref.placement is not None else None

        def look() -> Doing:
            return self._activity.look(members, trainer=trainer, group=group), memory_pressure(group, trainer)

        return await in_thread(look)

    async def _readings(self) -> tuple[Reading, ...] | None:
        if not self._attempt.gpus:
            return ()
        fresh = await self._gpus_lane.run(lambda: self._gpus.ask(max_age=self._interval / 2))
        return self._gpus.of(self._attempt.gpus) if fresh is not None else None
