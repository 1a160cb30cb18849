# SPDX-License-Identifier: Apache-2.0
"""One task for each live job: starts its attempt (starting.py) or finds it again, watches it (watching.py), and
records its end (ending.py). The tasks end with the daemon, the attempts do not (promise 1).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine

from fluxgym.config import Config
from fluxgym.errors import FluxgymError, StorageFailed
from fluxgym.messages import Context, Kind
from fluxgymd import lanes
from fluxgymd.attempts.port import Adapter
from fluxgymd.core import events
from fluxgymd.core.history import sentence
from fluxgymd.core.job import Attempt, Job, Live, Lost, Waiting
from fluxgymd.core.records import Place
from fluxgymd.engine import monitor, resuming
from fluxgymd.engine.book import Book, Entry
from fluxgymd.engine.ending import Over, end_event
from fluxgymd.engine.starting import Abandoned, Starter
from fluxgymd.engine.watching import Disowned, Look, Unkillable
from fluxgymd.failpoints import failpoint
from fluxgymd.trainers import kohya
from fluxgymd.watchdog.watch import Watch

log = logging.getLogger(__name__)

REST_SECONDS = 2.0
FAULT_SECONDS = 60.0
"""Before a job whose start met a fault of ours is tried again."""

Work = Callable[[], Coroutine[None, None, None]]
"""What a task does. Not yet a coroutine: a task that is cancelled before its first step would never run that."""


class Runner:
    def __init__(
        self,
        book: Book,
        adapters: dict[str, Adapter],
        chosen: str,
        here: Place,
        config: Config,
        paused: Callable[[], bool],
        done: Callable[[], None],
        watchdog: Callable[[Entry, Adapter], Watch] | None = None,
        unkillable: Unkillable | None = None,
        home_problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`watchdog`: who looks whether an attempt hangs. `unkillable`: told of one that SIGKILL does not end.
        `home_problem`: why nothing may be started in this home at present (Ownership.problem)."""
        self._book = book
        self._adapters = adapters
        self._chosen = adapters[chosen]
        self._here = here
        self._config = config
        self._starter = Starter(book, self._chosen, here, config, paused=paused, home_problem=home_problem)
        self._watchdog = watchdog
        self._unkillable = unkillable
        self._done = done  # tells the scheduler that a lease may be free
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._promised: dict[str, tuple[str, ...]] = {}

    @property
    def here(self) -> Place:
        return self._here

    @property
    def adapter(self) -> Adapter:
        """The one that new attempts are started with."""
        return self._chosen

    def knows(self, adapter: str) -> bool:
        """Whether attempts of this adapter can be looked at."""
        return adapter in self._adapters

    def busy(self, name: str) -> bool:
        """Whether a task starts or watches an attempt of this job."""
        return name in self._tasks

    def starting(self) -> dict[str, tuple[str, ...]]:
        """The waiting jobs that have a task: starts that are not in the journal yet, with their GPUs, and ends that
        are being tidied up. No second task is to start one of them."""
        return dict.fromkeys(filter(self._waits, self._tasks), ()) | self._promised

    def _waits(self, name: str) -> bool:
        job = self._book.entry(name).job if self._book.has(name) else None
        return job is not None and isinstance(job.state, Waiting)

    async def settled(self, name: str) -> None:
        """Returns when no task has anything to do with an attempt of this job: a moment after its end was told."""
        if (task := self._tasks.get(name)) is not None:
            await asyncio.wait({task})

    def start(self, entry: Entry, gpus: tuple[str, ...]) -> None:
        self._promised[entry.name] = gpus
        self._spawn(entry, lambda: self._start(entry, gpus))

    def adopt(self, entry: Entry) -> None:
        """Watches an attempt that an earlier daemon started."""
        self._spawn(entry, lambda: self._watch(entry))

    async def close(self) -> None:
        """Ends the tasks; the attempts go on."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _spawn(self, entry: Entry, work: Work) -> None:
        task = asyncio.create_task(self._to_the_end(entry, work), name=f"attempt-{entry.name}")
        self._tasks[entry.name] = task

    async def _to_the_end(self, entry: Entry, work: Work) -> None:
        """Runs the work, and watches on whatever goes wrong in it: a fault of ours must not leave a job unwatched."""
        try:
            await self._safely(entry, work)
            while entry.job is not None and isinstance(entry.job.state, Live):
                await asyncio.sleep(2)
                await self._safely(entry, lambda: self._watch(entry))
        finally:
            self._tasks.pop(entry.name, None)
            self._promised.pop(entry.name, None)
            self._done()

    @staticmethod
    async def _safely(entry: Entry, work: Work) -> None:
        try:
            await work()
        except (FluxgymError, Abandoned) as error:
            log.warning("%s: %s", entry.name, error)
            entry.not_before = time.monotonic() + REST_SECONDS
        except Exception:
            log.exception("%s: running its attempt failed; it is looked at again", entry.name)
            entry.not_before = time.monotonic() + FAULT_SECONDS

    async def _start(self, entry: Entry, gpus: tuple[str, ...]) -> None:
        await self._starter.start(entry, gpus, reserved=lambda: self._promised.pop(entry.name, None))
        await self._watch(entry)

    async def _watch(self, entry: Entry) -> None:
        """Looks at the attempt until nothing of it is left, and records its end."""
        assert entry.job is not None
        assert isinstance(entry.job.state, Live)
        attempt = entry.job.state.attempt
        adapter = self._adapters.get(attempt.adapter)
        if adapter is None:
            await self._lose(entry, attempt)
            return
        failpoint("watch.begins")
        watch = self._watchdog(entry, adapter) if self._watchdog is not None else None
        look = Look(
            self._book,
            entry,
            adapter,
            self._config.stop_limit,
            observations=watch.recent if watch is not None else (),
            unkillable=self._unkillable,
            unkillable_after=self._config.unkillable_after,
        )
        watching = asyncio.create_task(watch.run(), name=f"watchdog-{entry.name}") if watch is not None else None
        try:
            await lanes.run(entry.name, monitor.write_pid, entry.folder)
            over = await look.until_over()
        except Disowned:
            await lanes.run(entry.name, monitor.remove_pid, entry.folder)
            return
        finally:
            look.close()
            if watching is not None:
                watching.cancel()
        failpoint("watch.over")
        await self._end(entry, over, manager_stays=look.seen_running and await adapter.manager_stays())

    async def _lose(self, entry: Entry, attempt: Attempt) -> None:
        """Keeps what an attempt of an unknown adapter holds, until the user says that nothing of it runs."""
        why = (
            f"attempt {attempt.number} was run by the adapter {attempt.adapter!r}, "
            "which this version of FluxGym does not know"
        )

        def lost(job: Job) -> events.SightLost:
            if not isinstance(job.state, Live):
                raise Abandoned("it was disowned")
            return events.SightLost(at=time.time(), attempt=attempt.number, why=why)

        assert entry.job is not None
        if not isinstance(entry.job.state, Lost) or entry.job.state.why != why:
            await self._book.decide(entry, lost)
            await monitor.note(entry.folder, f"sight of attempt {attempt.number} was lost: {why}")
        await entry.wake.wait()
        entry.wake.clear()

    async def _end(self, entry: Entry, over: Over, *, manager_stays: bool) -> None:
        assert entry.job is not None
        assert isinstance(entry.job.state, Live)
        job, attempt = entry.job, entry.job.state.attempt
        event = await lanes.run(
            entry.name,
            end_event,
            job,
            attempt,
            entry.folder,
            over,
            manager_stays=manager_stays,
            why_not_started=entry.start_problem,
            withheld=entry.withheld,
        )
        failpoint("end.judged")
        # All of it before the end is told: who hears of it finds the folder as it stays.
        await monitor.note(entry.folder, f"attempt {attempt.number} has ended. {sentence(event)}")
        await lanes.run(entry.name, monitor.remove_pid, entry.folder)
        if event.outcome != "never_started":
            await self._tidy(entry, job.context)
        failpoint("end.tidied")
        while True:
            try:
                await self._book.record(entry, event)
                break
            except StorageFailed as error:
                if await self._book.forget_deleted(entry):
                    return
                # The end is true already; it is written down as soon as the disk takes it, and the lease is kept.
                log.error("%s: its end could not be recorded: %s", entry.name, error)
                await asyncio.sleep(5)
        failpoint("end.recorded")

    async def _tidy(self, entry: Entry, context: Context) -> None:
        """Deletes checkpoints that are too many. This task is the job's until it ends, so no trainer can start."""
        if context.kind is Kind.PROGRAM:
            return
        trainer = kohya.trainer_at(self._config.trainer_path)
        try:
            notes = await lanes.run(entry.name, resuming.tidy, context, entry.folder, trainer=trainer)
        except OSError as error:  # or its folder was removed; what is left is deleted before the next attempt
            log.warning("%s: old checkpoints could not be deleted: %s", entry.name, error)
            return
        for note in notes:
            await monitor.note(entry.folder, note)
