# SPDX-License-Identifier: Apache-2.0
"""The looks at one attempt, until nothing of it is left.

What it is doing is concluded from evidence at every look (core/evidence.py); signals and file events only say when to
look (docs/decisions/0010-looks-not-signals.md).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from fluxgym.errors import StorageFailed
from fluxgymd import lanes
from fluxgymd.attempts import records_on_disk
from fluxgymd.attempts.port import Adapter, AttemptRef
from fluxgymd.core import events
from fluxgymd.core.evidence import Conclusion, Ended, LeftOver, LostSight, NeverStarted, Rebooted, Runs, conclude
from fluxgymd.core.job import Attempt, Job, Live, Lost, Starting, acted_on, stop_asked, stops_later
from fluxgymd.core.resume import is_last
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.engine import monitor, resuming
from fluxgymd.engine.book import Book, Entry
from fluxgymd.engine.ending import Over
from fluxgymd.engine.hanging import Hanging
from fluxgymd.engine.spec import attempt_ref
from fluxgymd.engine.stopping import StopLadder
from fluxgymd.failpoints import failpoint
from fluxgymd.trainers.attempt_progress import AttemptProgress

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
SHORT_LOOK_SECONDS = 0.2
"""While something is about to change."""

Unkillable = Callable[[str, Attempt], Awaitable[None]]
"""Told the name of the job and its attempt."""


class Disowned(Exception):
    """The user said that nothing of the attempt runs any more: there is nothing left to look at."""


class Look:
    """The looks, with what is remembered between them."""

    def __init__(
        self,
        book: Book,
        entry: Entry,
        adapter: Adapter,
        stop_limit: float,
        *,
        observations: Sequence[Observation] = (),
        unkillable: Unkillable | None = None,
        unkillable_after: float = 60.0,
    ) -> None:
        """`observations`: the watchdog's last looks at it. `unkillable`: told once if it is not gone so many seconds
        after a SIGKILL: then it waits in the kernel for something that may never come."""
        assert entry.job is not None
        assert isinstance(entry.job.state, Live)
        self._book = book
        self._entry = entry
        self._adapter = adapter
        self._stop_limit = stop_limit
        self._number = entry.job.state.attempt.number
        self._told = AttemptProgress(entry.folder, entry.job.state.attempt, entry.job.context.kind)
        self._ladder: StopLadder | None = None
        self._hanging = Hanging(entry.folder, adapter, observations)
        self._unkillable = unkillable
        self._unkillable_after = unkillable_after
        self._checkpoint_before: str | None = None
        self._gone: asyncio.Task[None] | None = None
        self._before: type[object] | None = None
        self._unrecorded = False
        self.seen_running = False

    def close(self) -> None:
        self._hanging.close()
        if self._gone is not None:
            self._gone.cancel()

    async def until_over(self) -> Over:
        """How it came to its end. Disowned if it is not this daemon's to see."""
        while True:
            conclusion = await self._conclude()
            # A cgroup empties a moment after its last process: what looks odd must look so twice.
            again = self._before is type(conclusion)
            self._before = type(conclusion)
            match conclusion:
                case Ended() | NeverStarted() | Rebooted():
                    await self._progress()  # what it told last, after the look before
                    if (hang := acted_on(self._attempt())) is not None:
                        await self._hanging.over(self._attempt(), hang, self._ref())
                    return conclusion
                case Runs():
                    self.seen_running = True
                    await self._if_recorded(self._running())
                case LeftOver() if again:
                    await self._climb(trainer_ended=True)
                case LostSight(why) if again:
                    await self._if_recorded(self._lost(why))
                case _:
                    pass
            await self._stop_if_asked()
            await self._stop_if_stuck()
            await self._report_unkillable()
            await self._progress()
            stuck = acted_on(self._attempt()) is not None
            await self._pause(short=stuck or not isinstance(conclusion, Runs))

    async def _conclude(self) -> Conclusion:
        try:
            return conclude(await self._adapter.evidence(self._ref()))
        except OSError as error:  # the volume fails, which says nothing about the attempt
            return LostSight(f"its records cannot be read: {error.strerror}")

    async def _if_recorded(self, work: Awaitable[None]) -> None:
        """What is to be recorded is tried again at each look; a disk that refuses it must not hold up a stop."""
        try:
            await work
        except StorageFailed as error:
            if not self._unrecorded:
                log.warning("%s: what was seen of its attempt could not be recorded: %s", self._entry.name, error)
            self._unrecorded = True
        else:
            self._unrecorded = False

    def _attempt(self) -> Attempt:
        job = self._entry.job
        assert job is not None
        if not isinstance(job.state, Live):
            raise Disowned
        return job.state.attempt

    async def _record(self, event: events.AnyEvent) -> None:
        def of_this_attempt(_: Job) -> events.AnyEvent:
            self._attempt()
            return event

        await self._book.decide(self._entry, of_this_attempt)

    def _ref(self) -> AttemptRef:
        attempt = self._attempt()
        return attempt_ref(attempt, self._entry.folder.attempt(attempt.number))

    async def _running(self) -> None:
        attempt = self._attempt()
        if self._is_lost():
            await self._record(events.SightRegained(at=time.time(), attempt=self._number))
        if attempt.trainer is None:
            folder = self._entry.folder.attempt(self._number)
            records = await lanes.run(self._entry.name, records_on_disk.read, folder)
            if records.started is not None:
                failpoint("watch.started")
                trainer = records.started.process
                await self._record(events.Started(at=time.time(), attempt=self._number, trainer=trainer))
                await monitor.note(self._entry.folder, f"the trainer runs as process {trainer.pid}")

    async def _lost(self, why: str) -> None:
        if not self._is_lost():
            await self._record(events.SightLost(at=time.time(), attempt=self._number, why=why))
            await monitor.note(self._entry.folder, f"sight of attempt {self._number} was lost: {why}")

    def _is_lost(self) -> bool:
        return self._entry.job is not None and isinstance(self._entry.job.state, Lost)

    async def _stop_if_asked(self) -> None:
        assert self._entry.job is not None
        asked = stop_asked(self._entry.job) and not await self._waits_for_checkpoint()
        if not asked and not self._entry.stop_unrecorded:
            return
        await self._climb(trainer_ended=False)

    async def _stop_if_stuck(self) -> None:
        attempt = self._attempt()
        hang = acted_on(attempt)
        if hang is not None and self._hanging.secured(attempt, hang, self._ref()):
            await self._climb(trainer_ended=False)

    async def _report_unkillable(self) -> None:
        killed_at = self._ladder.killed_at if self._ladder is not None else None
        if killed_at is None or self._unkillable is None or time.monotonic() - killed_at < self._unkillable_after:
            return
        tell, self._unkillable = self._unkillable, None
        await tell(self._entry.name, self._attempt())

    async def _climb(self, *, trainer_ended: bool) -> None:
        if self._ladder is None:
            self._ladder = StopLadder(self._stop_limit, abort=self._hanging.wants_abort)
        done = await self._ladder.climb(self._adapter, self._ref(), trainer_ended=trainer_ended)
        if done is not None:
            await monitor.note(self._entry.folder, f"stop: {done}")

    async def _waits_for_checkpoint(self) -> bool:
        """Whether the stop is to come after a complete checkpoint that is not there yet."""
        job = self._entry.job
        asked = stops_later(job) if job is not None else None
        if asked is None:
            return False
        name = await lanes.run(self._entry.name, resuming.newest_name, self._entry.folder)
        if self._checkpoint_before is None:  # of an older version's stop, which did not look
            self._checkpoint_before = name
        before = self._checkpoint_before if asked.newest_checkpoint is None else asked.newest_checkpoint
        # After the last one it leaves by itself, and sd-scripts does not go on from that one (trainers.md 1.5).
        return name == before or is_last(name)

    async def _progress(self) -> None:
        if await lanes.run(self._entry.name, self._told.read):
            self._book.progressed(self._entry, self._told.progress)

    async def _pause(self, *, short: bool) -> None:
        """Until the shim may be gone, somebody rings, or it is time to look again."""
        if self._gone is None:
            self._gone = asyncio.create_task(self._adapter.gone(self._ref()), name=f"gone-{self._entry.name}")
        starting = self._entry.job is not None and isinstance(self._entry.job.state, Starting)
        ring = asyncio.create_task(self._entry.wake.wait(), name=f"ring-{self._entry.name}")
        # Once it has said "gone" it says so for ever: from then on only time and the bell count.
        hints = {ring} if self._gone.done() else {ring, self._gone}
        timeout = SHORT_LOOK_SECONDS if short or starting else LOOK_SECONDS
        await asyncio.wait(hints, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        ring.cancel()
        self._entry.wake.clear()
