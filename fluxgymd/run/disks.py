# SPDX-License-Identifier: Apache-2.0
"""The disks of a home and what fills them, measured in the background while somebody watches.

Nothing here waits for a disk: a place whose volume does not answer is left out of the measurement and reported, and
is not asked again until it has answered.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from fluxgym.protocol.machine_messages import Disk, DiskUse, DiskUseKind, JobUse
from fluxgymd.background import lanes
from fluxgymd.store import disk_walk
from fluxgymd.store.disk_walk import Place

log = logging.getLogger(__name__)

T = TypeVar("T")

MEASURE_SECONDS = 300.0
"""The time between two measurements, unless one is requested."""
ROOM_SECONDS = 5.0
"""The time between two checks of the free space."""
PLACE_SECONDS = 20.0
"""How long the measurement of one job may take before the rest continues without it."""
MOST_JOBS = 100
"""How many jobs are named, those with the largest states first."""


class Disks:
    def __init__(self, home: Path, caches: Sequence[Path]) -> None:
        self._home = home
        self._caches = caches
        self._open: dict[str, asyncio.Task[object]] = {}  # queries to disks that were not answered in time
        self._rooms: dict[int, tuple[int, int]] = {}  # total and free bytes by device
        self._paths: dict[int, str] = {}  # by device; the home's comes first
        self._uses: Counter[tuple[int, DiskUseKind]] = Counter()
        self._states: dict[int, Counter[str]] = {}  # bytes of states by device and job
        self._measured_at: float | None = None
        self._wanted = True
        self._due = self._room_due = 0.0  # monotonic
        self._measuring: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self.unanswered: list[str] = []
        """The places that the last measurement left out, since their volumes did not answer."""

    def want(self) -> None:
        """Makes the next `refresh` measure, however recent the last measurement is."""
        self._wanted = True

    def refresh(self) -> None:
        """Starts the measurements that are due, and returns at once."""
        now = time.monotonic()
        if now >= self._room_due and (self._looking is None or self._looking.done()):
            self._room_due = now + ROOM_SECONDS
            self._looking = asyncio.create_task(self._look(), name="disk-room")
        if (self._wanted or now >= self._due) and (self._measuring is None or self._measuring.done()):
            self._wanted = False
            self._due = now + MEASURE_SECONDS
            self._measuring = asyncio.create_task(self._measure(), name="disk-use")

    def shown(self) -> list[Disk]:
        return [
            Disk(
                path=self._paths[device],
                total=total,
                free=free,
                uses=[
                    DiskUse(what=kind, size=size, jobs=self._jobs(device) if kind is DiskUseKind.STATES else None)
                    for kind in DiskUseKind
                    if (size := self._uses[device, kind])
                ],
                measured_at=self._measured_at,
            )
            for device in self._paths
            if device in self._rooms
            for total, free in [self._rooms[device]]
        ]

    def _jobs(self, device: int) -> list[JobUse]:
        largest = self._states.get(device, Counter()).most_common(MOST_JOBS)
        return [JobUse(job=job, size=size) for job, size in largest]

    async def _look(self) -> None:
        if not self._paths:
            device = await self._ask(f"the device of {self._home}", disk_walk.device_of, str(self._home))
            if device is None:
                return
            self._paths[device] = str(self._home)
        for device, path in list(self._paths.items()):
            room = await self._ask(f"the room of {path}", disk_walk.total_and_free, path)
            if room is not None:
                self._rooms[device] = room

    async def _measure(self) -> None:
        seen: set[int] = set()
        uses: Counter[tuple[int, DiskUseKind]] = Counter()
        states: dict[int, Counter[str]] = {}
        unanswered: list[str] = []
        if self._looking is not None:
            await asyncio.wait({self._looking})
        paths = dict(list(self._paths.items())[:1])  # the home's
        listed = await self._ask(f"the folders of {self._home}", disk_walk.places, self._home, self._caches)
        for place in listed or [Place(path=str(self._home), parts=())]:
            found = await self._ask(place.path, disk_walk.walk, place, seen) if listed is not None else None
            if found is None:
                unanswered.append(place.path)
                continue
            uses.update(found)
            for (device, kind), size in found.items():
                paths.setdefault(device, place.path)
                if kind is DiskUseKind.STATES and place.job is not None:
                    states.setdefault(device, Counter())[place.job] += size
        self._uses, self._states, self._paths, self.unanswered = uses, states, paths, unanswered
        self._measured_at = time.time()
        self._room_due = 0.0

    async def _ask(self, lane: str, work: Callable[..., T], *arguments: object) -> T | None:
        """A disk's answer; None if it does not come in time or is an error."""
        if lane in self._open:
            return None
        task = asyncio.create_task(lanes.run(lane, partial(work, *arguments)))
        self._open[lane] = task
        task.add_done_callback(lambda _: self._open.pop(lane, None))
        done, _ = await asyncio.wait({task}, timeout=PLACE_SECONDS)
        if not done:
            return None
        try:
            return task.result()
        except OSError as error:
            log.warning("%s could not be examined: %s", lane, error)
            return None
