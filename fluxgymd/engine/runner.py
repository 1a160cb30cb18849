# SPDX-License-Identifier: Apache-2.0
"""Starts attempts and watches them to their end: one task for each live job, the same for one that was just started
and for one that was found at the start of the daemon.

What an attempt is doing is concluded from evidence at every look (core/evidence.py); signals and file events only say
when to look. The tasks end with the daemon, the attempts do not (promise 1).
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from fluxgym.config import Config
from fluxgym.errors import FluxgymError, StorageFailed
from fluxgym.messages import Context, FailureKind, Kind
from fluxgymd.attempts import records_on_disk
from fluxgymd.attempts.port import Adapter, AttemptRef, Gate, Refused
from fluxgymd.core import events
from fluxgymd.core.evidence import Ended, LeftOver, LostSight, NeverStarted, Rebooted, Runs, conclude
from fluxgymd.core.job import Attempt, Job, Live, Lost, Starting, Stopping, Waiting, stop_asked
from fluxgymd.core.records import Place
from fluxgymd.core.resume import Begin, Impossible, newest
from fluxgymd.engine import monitor, resuming
from fluxgymd.engine.book import Book, Entry
from fluxgymd.engine.ending import Over, end_event
from fluxgymd.engine.spec import attempt_ref, attempt_spec, unit_name
from fluxgymd.engine.stopping import StopLadder
from fluxgymd.failpoints import failpoint
from fluxgymd.store import checkpoints, result
from fluxgymd.store.atomic import sync_folder, write_file
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya
from fluxgymd.trainers.progress import MetricsReader, size

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
SHORT_LOOK_SECONDS = 0.2
"""While something is about to change."""
REST_SECONDS = 2.0
FAULT_SECONDS = 60.0
"""Before a job whose start met a fault of ours is tried again."""


class Abandoned(Exception):
    """The job no longer waits: it was stopped or removed while its start was being prepared."""


class Runner:
    def __init__(
        self,
        book: Book,
        adapters: dict[str, Adapter],
        chosen: str,
        here: Place,
        config: Config,
        done: Callable[[], None],
    ) -> None:
        self._book = book
        self._adapters = adapters
        self._chosen = adapters[chosen]
        self._here = here
        self._config = config
        self._done = done  # tells the scheduler that a lease may be free
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._promised: dict[str, tuple[str, ...]] = {}

    @property
    def machine_id(self) -> str:
        return self._here.machine_id

    @property
    def adapter(self) -> Adapter:
        """The one that new attempts are started with."""
        return self._chosen

    def busy(self, name: str) -> bool:
        """Whether a task starts or watches an attempt of this job."""
        return name in self._tasks

    def starting(self) -> dict[str, tuple[str, ...]]:
        """GPUs of attempts that are being reserved: not in the journal yet, and not to be given twice."""
        return dict(self._promised)

    async def settled(self, name: str) -> None:
        """Returns when no task has anything to do with an attempt of this job: a moment after its end was told."""
        if (task := self._tasks.get(name)) is not None:
            await asyncio.wait({task})

    def start(self, entry: Entry, gpus: tuple[str, ...]) -> None:
        self._promised[entry.name] = gpus
        self._spawn(entry, self._start(entry, gpus))

    def adopt(self, entry: Entry) -> None:
        """Watches an attempt that an earlier daemon started."""
        self._spawn(entry, self._watch(entry))

    async def close(self) -> None:
        """Ends the tasks; the attempts go on."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _spawn(self, entry: Entry, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._to_the_end(entry, work), name=f"attempt-{entry.name}")
        self._tasks[entry.name] = task

    async def _to_the_end(self, entry: Entry, work: Coroutine[None, None, None]) -> None:
        """Runs the work, and watches on whatever goes wrong in it: a fault of ours must not leave a job unwatched."""
        try:
            await self._safely(entry, work)
            while entry.job is not None and isinstance(entry.job.state, Live):
                await asyncio.sleep(2)
                await self._safely(entry, self._watch(entry))
        finally:
            self._tasks.pop(entry.name, None)
            self._promised.pop(entry.name, None)
            self._done()

    @staticmethod
    async def _safely(entry: Entry, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (FluxgymError, Abandoned) as error:
            log.warning("%s: %s", entry.name, error)
            entry.not_before = time.monotonic() + REST_SECONDS
        except Exception:
            log.exception("%s: running its attempt failed; it is looked at again", entry.name)
            entry.not_before = time.monotonic() + FAULT_SECONDS

    # -- starting ------------------------------------------------------------------------------------------------

    async def _start(self, entry: Entry, gpus: tuple[str, ...]) -> None:
        """The contract of DESIGN.md, "An attempt": reserve, spawn, place, and only then open the gate."""
        failpoint("attempt.begins")
        attempt = await self._reserve(entry, gpus)
        failpoint("attempt.reserved")
        self._promised.pop(entry.name, None)
        assert entry.job is not None
        spec = attempt_spec(entry.job, attempt, entry.folder, self._config, os.environ)
        await monitor.note(entry.folder, f"attempt {attempt.number} starts as {attempt.unit}")
        try:
            await self._book.disk(lambda: _prepare(entry, attempt))
            failpoint("attempt.prepared")
            gate = await self._chosen.spawn(spec)
            try:
                failpoint("attempt.spawned")
                await self._book.record(entry, events.Spawned(at=time.time(), attempt=attempt.number, shim=gate.shim))
                failpoint("attempt.spawn_recorded")
                placement = await self._chosen.place(spec, gate)
                failpoint("attempt.placed")
                await self._book.record(
                    entry, events.Placed(at=time.time(), attempt=attempt.number, placement=placement)
                )
                failpoint("attempt.place_recorded")
                self._open(entry, gate)
                failpoint("attempt.opened")
            finally:
                gate.close()
            entry.start_problem = None
        except (Refused, StorageFailed) as error:
            entry.start_problem = str(error)
            log.error("%s: attempt %d was not started: %s", entry.name, attempt.number, error)
        await self._watch(entry)

    def _open(self, entry: Entry, gate: Gate) -> None:
        # A stop may have come meanwhile; then the gate is closed unopened and nothing was started.
        if entry.job is not None and isinstance(entry.job.state, Starting):
            gate.open()

    async def _reserve(self, entry: Entry, gpus: tuple[str, ...]) -> Attempt:
        assert entry.job is not None
        folder, context = entry.folder, entry.job.context
        beginning = await asyncio.to_thread(self._begin, context, folder)
        for note in beginning.notes:
            await monitor.note(folder, note)
        before = await asyncio.to_thread(result.stamp, self._result_file(entry))

        def reserve(job: Job) -> events.Reserved | events.Barred:
            if not isinstance(job.state, Waiting):
                raise Abandoned("it does not wait any more")
            if job.held:
                raise Abandoned("it was put on hold while its start was prepared")
            if job.context != context:
                raise Abandoned("its settings were changed while its start was prepared")
            if isinstance(beginning.where, Impossible):
                return events.Barred(
                    at=time.time(), reason=beginning.where.sentence, failure=FailureKind.NOT_RESUMABLE.value
                )
            number = job.attempts + 1
            return events.Reserved(
                at=time.time(),
                attempt=number,
                adapter=self._chosen.name,
                unit=unit_name(job, number, self._chosen.name),
                mark=secrets.token_hex(16),
                place=self._here,
                gpus=list(gpus),
                log_offset=size(folder.log),
                metrics_offset=size(folder.metrics),
                resumed_from=beginning.resumed_from,
                step=beginning.step,
                set_aside=beginning.set_aside,
                final_before=before,
            )

        job = await self._book.decide(entry, reserve)
        if isinstance(beginning.where, Impossible):
            await monitor.note(folder, f"it cannot be started: {beginning.where.sentence}")
            raise Abandoned(beginning.where.sentence)
        assert isinstance(job.state, Starting)
        return job.state.attempt

    def _begin(self, context: Context, folder: JobFolder) -> resuming.Beginning:
        if context.kind is Kind.PROGRAM:
            return resuming.Beginning(where=Begin())
        return resuming.prepare(context, folder, trainer=kohya.trainer_at(self._config.trainer_path))

    @staticmethod
    def _result_file(entry: Entry) -> Path:
        assert entry.job is not None
        is_program = entry.job.context.kind is Kind.PROGRAM
        return entry.folder.program_result if is_program else entry.folder.result

    # -- watching ------------------------------------------------------------------------------------------------

    async def _watch(self, entry: Entry) -> None:
        """Looks at the attempt until nothing of it is left, and records its end."""
        assert entry.job is not None
        assert isinstance(entry.job.state, Live)
        attempt = entry.job.state.attempt
        adapter = self._adapters[attempt.adapter]
        failpoint("watch.begins")
        look = _Look(self._book, entry, adapter, self._config.stop_limit)
        await asyncio.to_thread(monitor.write_pid, entry.folder)
        try:
            over = await look.until_over()
        finally:
            look.close()
        failpoint("watch.over")
        await self._end(entry, over, manager_stays=look.seen_running and await adapter.manager_stays())

    async def _end(self, entry: Entry, over: Over, *, manager_stays: bool) -> None:
        assert entry.job is not None
        assert isinstance(entry.job.state, Live)
        job, attempt = entry.job, entry.job.state.attempt
        event = await asyncio.to_thread(
            end_event,
            job,
            attempt,
            entry.folder,
            over,
            manager_stays=manager_stays,
            why_not_started=entry.start_problem,
        )
        failpoint("end.judged")
        while True:
            try:
                await self._book.record(entry, event)
                break
            except StorageFailed as error:
                # The end is true already; it is written down as soon as the disk takes it, and the lease is kept.
                log.error("%s: its end could not be recorded: %s", entry.name, error)
                await asyncio.sleep(5)
        failpoint("end.recorded")
        await monitor.note(entry.folder, f"attempt {attempt.number} ended, {event.outcome}: {event.reason}")
        await asyncio.to_thread(monitor.remove_pid, entry.folder)
        if event.outcome != "never_started":
            await self._tidy(entry, job.context)
        failpoint("end.done")

    async def _tidy(self, entry: Entry, context: Context) -> None:
        """Deletes checkpoints that are too many. This task is the job's until it ends, so no trainer can start."""
        if context.kind is Kind.PROGRAM:
            return
        trainer = kohya.trainer_at(self._config.trainer_path)
        try:
            notes = await asyncio.to_thread(resuming.tidy, context, entry.folder, trainer=trainer)
        except OSError as error:  # or its folder was removed; what is left is deleted before the next attempt
            log.warning("%s: old checkpoints could not be deleted: %s", entry.name, error)
            return
        for note in notes:
            await monitor.note(entry.folder, note)


class _Look:
    """The looks at one attempt, with what is remembered between them."""

    def __init__(self, book: Book, entry: Entry, adapter: Adapter, stop_limit: float) -> None:
        assert entry.job is not None
        assert isinstance(entry.job.state, Live)
        self._book = book
        self._entry = entry
        self._adapter = adapter
        self._stop_limit = stop_limit
        self._number = entry.job.state.attempt.number
        self._metrics = MetricsReader(entry.folder.metrics, entry.job.state.attempt.metrics_offset)
        self._ladder: StopLadder | None = None
        self._checkpoint_before: str | None = None
        self._gone: asyncio.Task[None] | None = None
        self._before: type[object] | None = None
        self.seen_running = False

    def close(self) -> None:
        if self._gone is not None:
            self._gone.cancel()

    async def until_over(self) -> Over:
        while True:
            evidence = await self._adapter.evidence(self._ref())
            conclusion = conclude(evidence)
            # A cgroup empties a moment after its last process: what looks odd must look so twice.
            again = self._before is type(conclusion)
            self._before = type(conclusion)
            match conclusion:
                case Ended() | NeverStarted() | Rebooted():
                    return conclusion
                case Runs():
                    self.seen_running = True
                    await self._running()
                case LeftOver() if again:
                    await self._climb(trainer_ended=True)
                case LostSight(why) if again:
                    await self._lost(why)
                case _:
                    pass
            await self._stop_if_asked()
            await self._progress()
            await self._pause(short=not isinstance(conclusion, Runs))

    def _ref(self) -> AttemptRef:
        job = self._entry.job
        assert job is not None
        assert isinstance(job.state, Live)
        attempt = job.state.attempt
        return attempt_ref(attempt, self._entry.folder.attempt(attempt.number))

    async def _running(self) -> None:
        job = self._entry.job
        assert job is not None
        assert isinstance(job.state, Live)
        if isinstance(job.state, Lost):
            await self._book.record(self._entry, events.SightRegained(at=time.time(), attempt=self._number))
        if job.state.attempt.trainer is None:
            records = await asyncio.to_thread(records_on_disk.read, self._entry.folder.attempt(self._number))
            if records.started is not None:
                failpoint("watch.started")
                trainer = records.started.process
                await self._book.record(
                    self._entry, events.Started(at=time.time(), attempt=self._number, trainer=trainer)
                )
                await monitor.note(self._entry.folder, f"the trainer runs with pid {trainer.pid}")

    async def _lost(self, why: str) -> None:
        job = self._entry.job
        assert job is not None
        if not isinstance(job.state, Lost):
            await self._book.record(self._entry, events.SightLost(at=time.time(), attempt=self._number, why=why))
            await monitor.note(self._entry.folder, f"sight of attempt {self._number} was lost: {why}")

    async def _stop_if_asked(self) -> None:
        assert self._entry.job is not None
        if not stop_asked(self._entry.job) or await self._waits_for_checkpoint():
            return
        await self._climb(trainer_ended=False)

    async def _climb(self, *, trainer_ended: bool) -> None:
        if self._ladder is None:
            self._ladder = StopLadder(self._stop_limit)
        done = await self._ladder.climb(self._adapter, self._ref(), trainer_ended=trainer_ended)
        if done is not None:
            await monitor.note(self._entry.folder, f"stop: {done}")

    async def _waits_for_checkpoint(self) -> bool:
        """Whether the stop is to come after a complete checkpoint that is not there yet."""
        job = self._entry.job
        if job is None or not isinstance(job.state, Stopping) or not job.state.after_checkpoint:
            return False
        folder = self._entry.folder
        best = newest(await asyncio.to_thread(checkpoints.scan, folder.path, folder.name))
        name = best.name if best is not None else ""
        if self._checkpoint_before is None:
            self._checkpoint_before = name
        return name == self._checkpoint_before

    async def _progress(self) -> None:
        if await asyncio.to_thread(self._metrics.read):
            self._book.progressed(self._entry, self._metrics.progress)

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


def _prepare(entry: Entry, attempt: Attempt) -> None:
    """Makes the attempt's folder, and writes what the trainer reads with the paths of today. Blocks."""
    folder = entry.folder.attempt(attempt.number)
    folder.mkdir(mode=0o700, parents=True)
    failpoint("attempt.folder_made")
    sync_folder(folder.parent)
    sync_folder(entry.folder.path)
    failpoint("attempt.folder_durable")
    assert entry.job is not None
    context = entry.job.context
    if context.kind is not Kind.PROGRAM:
        write_file(entry.folder.dataset_config, kohya.dataset_config(context, entry.folder.dataset))
        write_file(entry.folder.sample_prompts, kohya.sample_prompts(context))  # they may have been edited
