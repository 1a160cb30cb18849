# SPDX-License-Identifier: Apache-2.0
"""The verbs on one job: each decides on the job as it is at that moment, and records the event before it acts.

One exception: a running job is stopped even if the disk refuses the record, since the job may be what fills the disk.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fluxgym.errors import StorageFailed, WrongState
from fluxgymd.attempts import records_on_disk
from fluxgymd.background import lanes
from fluxgymd.core import lost, schedule
from fluxgymd.core.job import (
    Completed,
    Failed,
    Final,
    Interrupted,
    Job,
    Live,
    Lost,
    Stopped,
    Waiting,
    stop_asked,
    stops_later,
)
from fluxgymd.core.journal import events
from fluxgymd.core.lost import Reach
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs.entry import Entry, RefusedStop
from fluxgymd.jobs.faults import ATTEMPT
from fluxgymd.jobs.registry import Registry
from fluxgymd.jobs.states import wire_state
from fluxgymd.run import resuming
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.runner import Runner
from fluxgymd.run.scheduler import Scheduler
from fluxgymd.snapshots import subsets
from fluxgymd.store.job_trash import RemovedFolder
from fluxgymd.trainers.choice import Trainers, traits

RecordEvent = Callable[[Entry, Callable[[Job], events.AnyEvent]], Awaitable[list[str]]]
"""Records the event that a job's owner asks for; returns warnings for the owner."""


class Verbs:
    def __init__(
        self,
        registry: Registry,
        runner: Runner,
        scheduler: Scheduler,
        preflight: Preflight,
        trainers: Trainers,
        record: RecordEvent,
    ) -> None:
        """`record`: Takeover.record, which turns older trainings into jobs."""
        self._record = record
        self._registry = registry
        self._preflight = preflight
        self._trainers = trainers
        self._runner = runner
        self._scheduler = scheduler
        self._stops: Counter[str] = Counter()
        """How many stops were accepted, by job: a resume that still waits for its trainer's answer yields to them."""

    async def stop(self, name: str, *, after_checkpoint: bool) -> Entry:
        """Cancels a waiting job, or asks a running one to end. WrongState if there is nothing to stop."""
        # Read before the stop is recorded: a checkpoint that is completed in between already counts as the next one.
        newest = None
        if after_checkpoint:
            entry, stopping = self._registry.sound(name)
            trainer = self._trainers.of(stopping.context)
            found = await lanes.answer(str(entry.folder.path), resuming.newest_checkpoint, trainer, entry.folder)
            newest = found.name if found is not None else ""

        def decide(job: Job) -> events.AnyEvent:
            now = time.time()
            if isinstance(job.state, Waiting):
                self._stops[name] += 1
                return events.Cancelled(at=now)
            if not isinstance(job.state, Live):
                raise wrong_state(job, f"it is {wire_state(job.state)} and not running")
            if after_checkpoint and not traits(job.context).makes_checkpoints:
                raise wrong_state(job, "it is a program, which makes no checkpoints")
            if stop_asked(job) and (after_checkpoint or stops_later(job) is None):
                if isinstance(job.state, Lost):
                    raise self._lost(job, job.state, "it is already being stopped, but it is lost")
                raise wrong_state(job, "it is already being stopped")
            self._stops[name] += 1
            return events.StopAsked(
                at=now,
                attempt=job.state.attempt.number,
                after_checkpoint=after_checkpoint,
                newest_checkpoint=newest,
            )

        try:
            return await self._decide(name, decide)
        except StorageFailed as error:
            entry = self._registry.entry(name)
            if not await self._stops_unrecorded(entry, error, at_once=not after_checkpoint):
                raise
            return entry

    async def _stops_unrecorded(self, entry: Entry, error: StorageFailed, *, at_once: bool) -> bool:
        """Stops a job that runs, or whose folder was deleted by hand, although the journal refuses the record.
        False if there is nothing to stop, or if the stop should wait for a checkpoint, which needs the record."""
        if not self._runner.busy(entry.name):
            return await self._registry.forget_deleted(entry)
        if not at_once and not await lanes.answer(entry.name, self._registry.home.lacks, entry.folder):
            return False
        if entry.job is None or not isinstance(entry.job.state, Live):
            return False
        entry.now.refused_stop = RefusedStop(entry.job.state.attempt.number, error.message)
        entry.wake.set()
        self._registry.changes.changed(entry.name)
        return True

    async def resume(self, name: str, *, assume_gone: bool) -> tuple[Entry, list[str]]:
        """Queues an ended job again; returns the job, and warnings for its owner. Raises WrongState if it is
        completed, runs or waits already; another FluxgymError if it could not run, and then it is not queued.
        `assume_gone`: the user says that nothing of a lost job runs, which is refused while its lock is held."""
        stops = self._stops[name]
        if assume_gone:
            await self._refuse_if_locked(name)

        def decide(job: Job) -> events.AnyEvent:
            if self._stops[name] != stops:  # the user's later request wins
                raise wrong_state(job, "it was stopped while its trainer was still checking it")
            match job.state:
                case Stopped() | Failed():
                    return events.ResumeAsked(at=time.time())
                case Interrupted() if job.held:
                    return events.Released(at=time.time())
                case Lost() if assume_gone and self._runner.reach(job.state.attempt) is not Reach.HERE:
                    return events.Disowned(at=time.time(), attempt=job.state.attempt.number)
                case Lost() if assume_gone:
                    raise self._lost(
                        job, job.state, "it ran on this machine, so --assume-gone does not apply; it is lost"
                    )
                case Lost():
                    raise self._lost(job, job.state, "it can't be resumed while it is lost")
                case Completed():
                    raise wrong_state(job, "it is completed; submit it under a new name to train it again")
                case Interrupted():
                    raise wrong_state(job, "it will be resumed automatically")
                case _:
                    raise wrong_state(job, f"it is already {wire_state(job.state)}")

        entry, job = self._registry.sound(name)
        decide(job)  # refuses what is impossible before the trainer is asked
        warnings = []
        # The takeover of an older training checks this itself. A lost job frees its GPU whatever is wrong with it.
        if entry.older is None and not isinstance(job.state, Lost):
            pictures = subsets.folders(job.context, entry.folder.dataset)
            outlook = await self._preflight.examine(job.context, entry.folder, pictures=pictures, copied=job.copied)
            warnings = [warning.sentence for warning in outlook.report.warnings]
        warnings += await self._take(entry, decide)
        entry.now.start_problem = None
        entry.now.faults.forget(ATTEMPT)
        entry.now.not_before = 0.0
        return entry, warnings

    async def hold(self, name: str) -> Entry:
        """Keeps a waiting job from being started."""

        def decide(job: Job) -> events.AnyEvent:
            _must_wait(job)
            if job.held:
                raise wrong_state(job, "it is already on hold")
            return events.Held(at=time.time())

        return await self._decide(name, decide)

    async def release(self, name: str) -> Entry:
        """Lets a held job wait for its turn."""

        def decide(job: Job) -> events.AnyEvent:
            _must_wait(job)
            if not job.held:
                raise wrong_state(job, "it is not on hold")
            return events.Released(at=time.time())

        return await self._decide(name, decide)

    async def move(self, name: str, before: str | None) -> Entry:
        """Puts a waiting job right before another waiting one, or to the front of the queue."""
        if before == name:
            raise wrong_state(self._registry.sound(name)[1], "it cannot be put before itself")

        def decide(job: Job) -> events.AnyEvent:
            _must_wait(job)
            place = self._scheduler.place_before(job, before)
            if place is None:
                raise wrong_state(job, "the queue is changing; try again")
            priority, rank = place
            return events.Moved(at=time.time(), priority=priority, rank=rank)

        _, job = self._registry.sound(name)
        _must_wait(job)
        for other in self._scheduler.in_the_way(job, before):
            with suppress(WrongState):  # it has started meanwhile
                await self._decide(other.name, _step_back)
        return await self._decide(name, decide)

    async def remove(self, name: str, *, keep: bool = False) -> RemovedFolder | None:
        """Removes a job that is neither live nor waiting; WrongState otherwise. `keep`: moves it to the trash and
        returns it there; otherwise it is deleted."""
        entry, job = self._registry.sound(name)
        if isinstance(job.state, Final):
            await self._runner.settled(name)

        def check(job: Job) -> None:
            if isinstance(job.state, Lost):
                raise self._lost(job, job.state, "it can't be removed while it is lost")
            if not isinstance(job.state, Final) or self._runner.busy(name):
                raise wrong_state(job, f"it is {wire_state(job.state)}; stop it first")

        removed = await self._registry.remove(entry, check, keep=keep)
        self._scheduler.request_pass()
        return removed

    async def _decide(self, name: str, decide: Callable[[Job], events.AnyEvent]) -> Entry:
        entry, _ = self._registry.sound(name)
        await self._take(entry, decide)
        return entry

    async def _take(self, entry: Entry, decide: Callable[[Job], events.AnyEvent]) -> list[str]:
        warnings = await self._record(entry, decide)
        failpoint("verb.recorded")
        entry.wake.set()
        self._scheduler.request_pass()
        return warnings

    async def _refuse_if_locked(self, name: str) -> None:
        """WrongState if a lost job's lock is held. That is visible from other containers, and from other machines if
        the volume has locks."""
        entry, job = self._registry.sound(name)
        if not isinstance(job.state, Lost):
            return
        number = job.state.attempt.number
        folder = entry.folder.attempt(number)
        try:
            found = await lanes.answer(str(entry.folder.path), records_on_disk.read, folder)
        except OSError as error:
            raise StorageFailed(f"{folder} cannot be read: {error.strerror}.") from error
        if found.lock_held:
            lock = folder / "lock"
            why = f"attempt {number} still runs elsewhere, so stop it there: its supervising process holds {lock}"
            raise wrong_state(job, why)

    def _lost(self, job: Job, state: Lost, refusal: str) -> WrongState:
        """The error for a lost job. `refusal`: a clause that ends with "lost"; the reason and advice are added."""
        advice = lost.advice(job.name, self._runner.reach(state.attempt), stop_asked=state.stop_asked)
        return wrong_state(job, f"{refusal}: {state.why}. {advice.removesuffix('.')}")


def _step_back(job: Job) -> events.AnyEvent:
    _must_wait(job)
    return events.Moved(at=time.time(), priority=job.priority, rank=schedule.rank_behind(job.rank))


def _must_wait(job: Job) -> None:
    if not isinstance(job.state, Waiting):
        raise wrong_state(job, f"it is {wire_state(job.state)} and not waiting in the queue")


def wrong_state(job: Job, why: str) -> WrongState:
    """The error for a request that is not possible in the job's state. `why`: a clause."""
    return WrongState(f"The job {job.name}: {why}.", name=job.name, state=wire_state(job.state))
