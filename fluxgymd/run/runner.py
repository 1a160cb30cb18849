# SPDX-License-Identifier: Apache-2.0
"""One task for each live job: starts its attempt (starting.py) or finds it again, watches it (watching.py), and
records its end (ending.py). The tasks end with the daemon; the attempts do not (promise 1).
"""

import asyncio
import logging
import time
from collections.abc import Callable

from fluxgym.errors import FluxgymError, StorageFailed
from fluxgym.protocol.messages import Context
from fluxgymd.attempts.port import Adapter
from fluxgymd.background import lanes
from fluxgymd.background.tasks import Work
from fluxgymd.core import energy
from fluxgymd.core.ending import Circumstances
from fluxgymd.core.evidence import Over
from fluxgymd.core.job import Attempt, Job, Live, Lost, Waiting, stop_asked
from fluxgymd.core.journal import events
from fluxgymd.core.journal.history import sentence
from fluxgymd.core.lost import Reach
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs import monitor
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.faults import ATTEMPT
from fluxgymd.jobs.registry import Registry
from fluxgymd.run import places, resuming
from fluxgymd.run.attempt_adapters import AttemptAdapters
from fluxgymd.run.ending import end_event
from fluxgymd.run.starting import Abandoned, Starter
from fluxgymd.run.watching import Watcher
from fluxgymd.trainers.choice import Trainers

log = logging.getLogger(__name__)

REST_SECONDS = 2.0
FAULT_SECONDS = 60.0
"""Before a job is started again after a bug in the daemon ended its task."""


class Runner:
    def __init__(
        self,
        registry: Registry,
        adapters: AttemptAdapters,
        trainers: Trainers,
        starter: Starter,
        watcher: Watcher,
        *,
        done: Callable[[], None],
    ) -> None:
        """`done`: called when a job has no task any more, so a lease may be free."""
        self._registry = registry
        self._adapters = adapters
        self._trainers = trainers
        self._starter = starter
        self._watcher = watcher
        self._done = done
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._promised: dict[str, tuple[str, ...]] = {}

    @property
    def adapter(self) -> Adapter:
        """The adapter for new attempts."""
        return self._adapters.for_new

    def reach(self, attempt: Attempt) -> Reach:
        """Whether the attempt can be looked at from here."""
        return self._adapters.reach(attempt)

    def adapter_of(self, attempt: Attempt) -> Adapter | None:
        """The adapter that runs the attempt; None if this version of FluxGym does not know it."""
        return self._adapters.of(attempt)

    def busy(self, name: str) -> bool:
        """Whether a task starts or watches an attempt of this job."""
        return name in self._tasks

    def starting(self) -> dict[str, tuple[str, ...]]:
        """The waiting jobs that have a task: starts that are not in the journal yet, with their GPUs, and jobs whose
        last attempt is still being tidied up, with none. No second task may start one of them."""
        return dict.fromkeys(filter(self._waits, self._tasks), ()) | self._promised

    def _waits(self, name: str) -> bool:
        job = self._registry.entry(name).job if self._registry.has(name) else None
        return job is not None and isinstance(job.state, Waiting)

    async def settled(self, name: str) -> None:
        """Returns when the job has no task any more, which is a moment after the end of its attempt was recorded."""
        if (task := self._tasks.get(name)) is not None:
            await asyncio.wait({task})

    def start(self, entry: Entry, gpus: tuple[str, ...]) -> None:
        self._promised[entry.name] = gpus
        self._spawn(entry, lambda: self._start(entry, gpus))

    def adopt(self, entry: Entry) -> None:
        """Watches an attempt that an earlier daemon started."""
        self._spawn(entry, lambda: self._watch(entry))

    async def close(self) -> None:
        """Ends the tasks; the attempts keep running."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _spawn(self, entry: Entry, work: Work) -> None:
        task = asyncio.create_task(self._to_the_end(entry, work), name=f"attempt-{entry.name}")
        self._tasks[entry.name] = task

    async def _to_the_end(self, entry: Entry, work: Work) -> None:
        """Runs the work, and keeps watching whatever fails in it: a bug must not leave a running job unwatched."""
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
            if entry.job is not None and isinstance(entry.job.state, Live):
                entry.now.faults.failed(entry.name, ATTEMPT, error)
            elif str(error) != entry.now.start_problem:  # else it was logged before, and is retried every few seconds
                log.warning("%s: %s", entry.name, error)
            if isinstance(error, FluxgymError) and entry.job is not None and isinstance(entry.job.state, Waiting):
                entry.now.start_problem = str(error)
            entry.now.not_before = time.monotonic() + REST_SECONDS
        except Exception as error:  # noqa: BLE001 - a bug must affect this job alone, and is logged for it
            entry.now.faults.failed(entry.name, ATTEMPT, error)
            entry.now.not_before = time.monotonic() + FAULT_SECONDS

    async def _start(self, entry: Entry, gpus: tuple[str, ...]) -> None:
        await self._starter.start(entry, gpus, reserved=lambda: self._promised.pop(entry.name, None))
        await self._watch(entry)

    async def _watch(self, entry: Entry) -> None:
        """Looks at the attempt until nothing of it is left, and records its end."""
        attempt = entry.attempt
        entry.now.reach = self.reach(attempt)
        adapter = self.adapter_of(attempt)
        if adapter is None:
            await self._lose(entry, attempt)
            return
        failpoint("watch.begins")
        watched = await self._watcher.until_over(entry, adapter)
        if watched is None:
            return
        failpoint("watch.over")
        stays = watched.seen_running and await adapter.manager_stays()
        await self._end(entry, watched.over, manager_stays=stays)

    async def _lose(self, entry: Entry, attempt: Attempt) -> None:
        """Keeps the lease of an attempt whose adapter is unknown, until the user says that nothing of it runs."""
        why = (
            f"attempt {attempt.number} was run by the adapter {attempt.adapter!r}, "
            "which this version of FluxGym does not know"
        )

        def lost(job: Job) -> events.SightLost:
            if not isinstance(job.state, Live):
                raise Abandoned("it was disowned")
            return events.SightLost(at=time.time(), attempt=attempt.number, why=why)

        state = entry.known.state
        if not isinstance(state, Lost) or state.why != why:
            await self._registry.decide(entry, lost)
            await monitor.note(entry.folder, f"lost contact with attempt {attempt.number}: {why}")
        await entry.wake.wait()
        entry.wake.clear()

    async def _end(self, entry: Entry, over: Over, *, manager_stays: bool) -> None:
        context, attempt = entry.known.context, entry.attempt
        asked = _stop_wanted(entry)
        event = await self._judged(entry, over, asked=asked, manager_stays=manager_stays)
        failpoint("end.judged")
        # All of this comes before the end is recorded: a client that hears of it finds the folder in its final state.
        await monitor.note(entry.folder, f"attempt {attempt.number} has ended. {sentence(event)}")
        await lanes.run(entry.name, monitor.remove_pid, entry.folder)
        await places.clear(entry, attempt)
        if event.outcome != "never_started":
            await self._tidy(entry, context)
        failpoint("end.tidied")
        while True:
            if not asked and _stop_wanted(entry):  # acknowledged meanwhile, so the job must not go on
                asked, event = True, await self._judged(entry, over, asked=True, manager_stays=manager_stays)
                await monitor.note(entry.folder, f"it was stopped in the meantime: {sentence(event)}")
            try:
                await self._registry.record(entry, event)
                break
            except StorageFailed as error:
                if await self._registry.forget_deleted(entry):
                    return
                # The attempt has ended all the same. Until the disk accepts the record, the job keeps its lease.
                log.error("%s: its end could not be recorded: %s", entry.name, error)
                await asyncio.sleep(5)
        entry.now.refused_stop = None
        entry.now.faults.forget(ATTEMPT)
        failpoint("end.recorded")

    async def _judged(self, entry: Entry, over: Over, *, asked: bool, manager_stays: bool) -> events.Ended:
        return await lanes.run(
            entry.name,
            end_event,
            self._trainers.of(entry.known.context),
            entry.known,
            entry.attempt,
            entry.folder,
            over,
            Circumstances(
                asked=asked,
                manager_stays=manager_stays,
                start_problem=entry.now.start_problem,
                withheld=entry.now.withheld,
                energy=energy.of_attempt(entry.now.meter, entry.attempt),
            ),
        )

    async def _tidy(self, entry: Entry, context: Context) -> None:
        """Deletes surplus checkpoints. No trainer can start meanwhile, since the job has this task until it ends."""
        trainer = self._trainers.of(context)
        try:
            notes = await lanes.run(entry.name, resuming.tidy, trainer, context, entry.folder)
        except OSError as error:  # e.g. the folder is gone; the next attempt deletes what is left
            log.warning("%s: old checkpoints could not be deleted: %s", entry.name, error)
            return
        for note in notes:
            await monitor.note(entry.folder, note)


def _stop_wanted(entry: Entry) -> bool:
    """Whether a stop was asked for, be it recorded or refused by the disk."""
    return entry.job is not None and (stop_asked(entry.job) or entry.stop_unrecorded is not None)
