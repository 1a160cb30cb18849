# SPDX-License-Identifier: Apache-2.0
"""Looks at one attempt until nothing of it is left.

Each look concludes from evidence what the attempt is doing (core/evidence.py). The end of the shim and requests of
the user only decide when to look (docs/decisions/0010-looks-not-signals.md).
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from fluxgym.config import Config
from fluxgym.errors import StorageFailed
from fluxgymd.attempts import records_on_disk
from fluxgymd.attempts.port import Adapter, AttemptRef
from fluxgymd.background import lanes
from fluxgymd.core.disk import log_size
from fluxgymd.core.evidence import Conclusion, LostSight, NeverStarted, Over, Runs, RunsAlone, conclude
from fluxgymd.core.job import Attempt, Job, Live, Lost, Starting, acted_on, stop_asked, stops_later
from fluxgymd.core.journal import events
from fluxgymd.core.journal.history import sentence
from fluxgymd.core.looking import (
    Action,
    Finish,
    LookAgain,
    Memory,
    NoteLost,
    NoteRunning,
    NoteUnsupervised,
    StopRest,
    step,
    waits_for_checkpoint,
)
from fluxgymd.core.measures.pace import Pace, follow
from fluxgymd.core.watchdog.observation import Observation
from fluxgymd.core.wishes import REQUESTS
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs import monitor
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.faults import ATTEMPT
from fluxgymd.jobs.registry import Registry
from fluxgymd.jobs.spec import attempt_ref
from fluxgymd.run import resuming
from fluxgymd.run.hanging import Hanging
from fluxgymd.run.stopping import StopLadder
from fluxgymd.store import holes
from fluxgymd.trainers.port import Trainer

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
SHORT_LOOK_SECONDS = 0.2
"""While something is about to change."""

Unkillable = Callable[[str, Attempt], Awaitable[None]]
"""Called with the name of the job and its attempt."""


class AttemptDisowned(Exception):
    """The user said that nothing of the attempt runs any more: there is nothing left to look at."""


class Look:
    """The looks at one attempt, and what is remembered between them."""

    def __init__(
        self,
        registry: Registry,
        entry: Entry,
        adapter: Adapter,
        trainer: Trainer,
        config: Config,
        *,
        observations: Sequence[Observation] = (),
        unkillable: Unkillable | None = None,
    ) -> None:
        """`observations`: the watchdog's last looks at it. `unkillable`: called once if it is still there
        `config.unkillable_after` seconds after a SIGKILL, because it waits in the kernel for something that may never
        come."""
        self._registry = registry
        self._entry = entry
        self._adapter = adapter
        self._config = config
        self._number = entry.attempt.number
        self._trainer = trainer
        self._told = trainer.progress(entry.folder, entry.attempt)
        self._pace = Pace()
        self._ladder: StopLadder | None = None
        self._hanging = Hanging(entry.folder, adapter, observations)
        self._unkillable = unkillable
        self._checkpoint_before: str | None = None
        self._gone: asyncio.Task[None] | None = None
        self._memory = Memory()
        self._unrecorded = False
        self._unread = False

    @property
    def seen_running(self) -> bool:
        """Whether a look has seen the attempt run."""
        return self._memory.seen_running

    def close(self) -> None:
        self._hanging.close()
        self._entry.now.log_problem = None
        self._entry.now.slow = None
        self._entry.now.handled = frozenset()
        if self._gone is not None:
            self._gone.cancel()

    async def until_over(self) -> Over:
        """How it came to its end. AttemptDisowned if the user gave it up before that."""
        while True:
            conclusion = await self._conclude()
            self._memory, action = step(self._memory, conclusion)
            if isinstance(action, Finish):
                await self._finish(action.over)
                return action.over
            await self._act(action)
            await self._stop_if_asked()
            await self._stop_if_stuck()
            await self._report_unkillable()
            await self._progress()
            await self._log_size()
            await self._handlers()
            self._entry.now.faults.well(self._entry.name, ATTEMPT)
            stuck = acted_on(self._attempt()) is not None
            await self._pause(short=stuck or not isinstance(conclusion, Runs | RunsAlone))

    async def _act(self, action: Action) -> None:
        match action:
            case NoteRunning():
                await self._if_recorded(self._running())
            case NoteUnsupervised():
                await self._if_recorded(self._runs_alone())
            case NoteLost(why):
                await self._if_recorded(self._lost(why))
            case StopRest():
                await self._climb(trainer_ended=True)
            case Finish() | LookAgain():
                pass

    async def _finish(self, over: Over) -> None:
        await self._progress()  # what it wrote after the previous look
        if (hang := acted_on(self._attempt())) is not None:
            await self._hanging.over(self._attempt(), hang, self._ref())
        if isinstance(over, NeverStarted):
            await self._adapter.clear(self._ref())

    async def _conclude(self) -> Conclusion:
        try:
            return conclude(await self._adapter.evidence(self._ref()))
        except OSError as error:  # the volume fails, which says nothing about the attempt
            return LostSight(f"its records cannot be read: {error.strerror}")

    async def _if_recorded(self, work: Awaitable[None]) -> None:
        """Does work that records something. If the disk refuses, the next look tries again: a stop must not wait."""
        try:
            await work
        except StorageFailed as error:
            if not self._unrecorded:
                log.warning("%s: events of its attempt could not be recorded: %s", self._entry.name, error)
            self._unrecorded = True
        else:
            self._unrecorded = False

    def _attempt(self) -> Attempt:
        state = self._entry.known.state
        if not isinstance(state, Live):
            raise AttemptDisowned
        return state.attempt

    async def _record(self, event: events.AnyEvent) -> None:
        def of_this_attempt(_: Job) -> events.AnyEvent:
            self._attempt()
            return event

        await self._registry.decide(self._entry, of_this_attempt)

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
                await monitor.note(self._entry.folder, f"the trainer is running as process {trainer.pid}")

    async def _runs_alone(self) -> None:
        await self._running()
        if not self._attempt().unsupervised:
            event = events.Unsupervised(at=time.time(), attempt=self._number)
            await self._record(event)
            await monitor.note(self._entry.folder, sentence(event))

    async def _lost(self, why: str) -> None:
        if not self._is_lost():
            await self._record(events.SightLost(at=time.time(), attempt=self._number, why=why))
            await monitor.note(self._entry.folder, f"lost contact with attempt {self._number}: {why}")

    def _is_lost(self) -> bool:
        return self._entry.job is not None and isinstance(self._entry.job.state, Lost)

    async def _stop_if_asked(self) -> None:
        if self._entry.stop_unrecorded is not None:
            await self._if_recorded(self._stop_recorded())
        asked = stop_asked(self._entry.known) and not await self._waits_for_checkpoint()
        if not asked and self._entry.stop_unrecorded is None:
            return
        await self._climb(trainer_ended=False)

    async def _stop_recorded(self) -> None:
        """Records a stop that the disk has refused before, so that it survives a restart of the daemon."""
        await self._record(events.StopAsked(at=time.time(), attempt=self._number))
        self._entry.now.refused_stop = None

    async def _stop_if_stuck(self) -> None:
        attempt = self._attempt()
        hang = acted_on(attempt)
        if hang is not None and self._hanging.secured(attempt, hang, self._ref()):
            await self._climb(trainer_ended=False)

    async def _report_unkillable(self) -> None:
        killed_at = self._ladder.killed_at if self._ladder is not None else None
        if killed_at is None or self._unkillable is None:
            return
        if time.monotonic() - killed_at < self._config.unkillable_after:
            return
        tell, self._unkillable = self._unkillable, None
        await tell(self._entry.name, self._attempt())

    async def _climb(self, *, trainer_ended: bool) -> None:
        if self._ladder is None:
            self._ladder = StopLadder(
                self._config.stop_limit,
                saves=signal.SIGTERM in self._trainer.signals,
                abort=self._hanging.wants_abort,
            )
        done = await self._ladder.climb(self._adapter, self._ref(), trainer_ended=trainer_ended)
        if done is not None:
            await monitor.note(self._entry.folder, f"stop: {done}")

    async def _waits_for_checkpoint(self) -> bool:
        """Whether the stop must wait for a complete checkpoint that does not exist yet."""
        job = self._entry.job
        asked = stops_later(job) if job is not None else None
        if asked is None:
            return False
        folder = self._entry.folder
        newest = await lanes.run(self._entry.name, resuming.newest_checkpoint, self._trainer, folder)
        if self._checkpoint_before is None:  # for a stop by an older version, which did not record it
            self._checkpoint_before = newest.name if newest is not None else ""
        before = self._checkpoint_before if asked.newest_checkpoint is None else asked.newest_checkpoint
        return waits_for_checkpoint(newest, before=before)

    async def _progress(self) -> None:
        """Reads the progress. It is only shown to people, so a failure must not hold up the looks."""
        try:
            if await lanes.run(self._entry.name, self._read):
                self._registry.progressed(self._entry, self._told.progress, self._pace.slow)
        except Exception:
            if not self._unread:
                log.exception("%s: its progress could not be read; the last known one is shown", self._entry.name)
            self._unread = True

    def _read(self) -> bool:
        """Returns whether there was anything new. Blocks on the disk."""
        is_new = self._told.read()
        self._pace = follow(self._pace, self._told.step_times)
        return is_new

    async def _log_size(self) -> None:
        found = await lanes.run(self._entry.name, holes.log_size, self._entry.folder.log)
        self._entry.now.log_problem = log_size.problem(self._entry.name, found, limit=self._config.log_limit)

    async def _handlers(self) -> None:
        """Finds out which requests the trainer has handlers for. It keeps them until it exits, so this stops checking
        once they are there."""
        asked = REQUESTS & self._trainer.signals
        attempt = self._attempt()
        if attempt.trainer is None or self._entry.now.handled == asked:
            return
        launched, found = self._trainer.launches(len(attempt.gpus)), set()
        for number in asked:
            if await self._adapter.handles(self._ref(), number, launched=launched):
                found.add(number)
        if found != self._entry.now.handled:
            self._entry.now.handled = frozenset(found)
            self._registry.changes.changed(self._entry.name)

    async def _pause(self, *, short: bool) -> None:
        """Waits until the shim may be gone, the entry is woken, or it is time to look again."""
        if self._gone is None:
            self._gone = asyncio.create_task(self._adapter.gone(self._ref()), name=f"gone-{self._entry.name}")
        starting = self._entry.job is not None and isinstance(self._entry.job.state, Starting)
        woken = asyncio.create_task(self._entry.wake.wait(), name=f"wake-{self._entry.name}")
        # Once `gone` has returned it stays done; from then on only `wake` and the time count.
        hints = {woken} if self._gone.done() else {woken, self._gone}
        timeout = SHORT_LOOK_SECONDS if short or starting else LOOK_SECONDS
        await asyncio.wait(hints, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()
        self._entry.wake.clear()
