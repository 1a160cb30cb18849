# SPDX-License-Identifier: Apache-2.0
"""The verbs on one job: each decides on the job as it is at that moment, and records before anything is done."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fluxgym.errors import StorageFailed, WrongState
from fluxgym.messages import Kind
from fluxgymd import lanes
from fluxgymd.attempts import records_on_disk
from fluxgymd.core import events
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
from fluxgymd.engine import resuming
from fluxgymd.engine.book import Book, Entry
from fluxgymd.engine.runner import Runner
from fluxgymd.engine.scheduler import Scheduler
from fluxgymd.engine.view import wire_state
from fluxgymd.failpoints import failpoint

Record = Callable[[Entry, Callable[[Job], events.AnyEvent]], Awaitable[object]]


class Verbs:
    def __init__(self, book: Book, runner: Runner, scheduler: Scheduler, record: Record | None = None) -> None:
        """`record`: Takeover.record, where older trainings are to become jobs."""
        self._record = record or book.decide
        self._book = book
        self._runner = runner
        self._scheduler = scheduler

    async def stop(self, name: str, *, after_checkpoint: bool) -> Entry:
        """Cancels a waiting job, asks a running one to end. WrongState if there is nothing to stop."""
        # Before the stop is recorded: a checkpoint that is complete by then is the next one already.
        newest = None
        if after_checkpoint:
            folder = self._book.entry(name).folder
            newest = await lanes.answer(str(folder.path), resuming.newest_name, folder)

        def decide(job: Job) -> events.AnyEvent:
            now = time.time()
            if isinstance(job.state, Waiting):
                return events.Cancelled(at=now)
            if not isinstance(job.state, Live):
                raise wrong_state(job, f"it is {wire_state(job.state)} and does not run")
            if after_checkpoint and job.context.kind is Kind.PROGRAM:
                raise wrong_state(job, "it is a program, which makes no checkpoints")
            if stop_asked(job) and (after_checkpoint or stops_later(job) is None):
                raise wrong_state(job, "it is being stopped already")
            return events.StopAsked(
                at=now,
                attempt=job.state.attempt.number,
                after_checkpoint=after_checkpoint,
                newest_checkpoint=newest,
            )

        try:
            return await self._decide(name, decide)
        except StorageFailed:
            entry = self._book.entry(name)
            if not await self._stops_deleted(entry):
                raise
            return entry

    async def _stops_deleted(self, entry: Entry) -> bool:
        """Stops a job whose folder was deleted by hand: what no journal can take is done all the same. False if the
        folder is there."""
        if not self._runner.busy(entry.name):
            return await self._book.forget_deleted(entry)
        if not await lanes.answer(entry.name, self._book.home.lacks, entry.folder):
            return False
        entry.stop_unrecorded = True
        entry.wake.set()
        return True

    async def resume(self, name: str, *, assume_gone: bool) -> Entry:
        """Queues an ended job again. WrongState if it is complete, runs, or waits already. `assume_gone`: the user
        says that nothing of a lost one runs; that is not believed against its lock."""
        if assume_gone:
            await self._refuse_if_locked(name)

        def decide(job: Job) -> events.AnyEvent:
            match job.state:
                case Stopped() | Failed():
                    return events.ResumeAsked(at=time.time())
                case Interrupted() if job.held:
                    return events.Released(at=time.time())
                case Lost() if assume_gone:
                    return self._disown(job, job.state)
                case Completed():
                    raise wrong_state(job, "it is completed; submit it under a new name to train it again")
                case Interrupted():
                    raise wrong_state(job, "it will be resumed by itself")
                case _:
                    raise wrong_state(job, f"it is {wire_state(job.state)} already")

        entry = await self._decide(name, decide)
        entry.start_problem = None
        entry.not_before = 0.0
        return entry

    async def hold(self, name: str) -> Entry:
        """Keeps a waiting job from being started."""

        def decide(job: Job) -> events.AnyEvent:
            _must_wait(job)
            if job.held:
                raise wrong_state(job, "it is on hold already")
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
            raise wrong_state(self._book.sound(name)[1], "it cannot be put before itself")

        def decide(job: Job) -> events.AnyEvent:
            _must_wait(job)
            place = self._scheduler.place_before(job, before)
            if place is None:
                raise wrong_state(job, "the queue changes in this moment; try again")
            priority, rank = place
            return events.Moved(at=time.time(), priority=priority, rank=rank)

        _, job = self._book.sound(name)
        _must_wait(job)
        for other in self._scheduler.in_the_way(job, before):
            with suppress(WrongState):  # it began meanwhile
                await self._decide(other.name, _step_back)
        return await self._decide(name, decide)

    async def remove(self, name: str) -> None:
        """Deletes a job of which nothing runs. WrongState for a live or waiting one."""
        entry, job = self._book.sound(name)
        if isinstance(job.state, Final):
            await self._runner.settled(name)

        def check(job: Job) -> None:
            if not isinstance(job.state, Final) or self._runner.busy(name):
                raise wrong_state(job, f"it is {wire_state(job.state)}; stop it first")

        await self._book.remove(entry, check)
        self._scheduler.ring()

    async def _decide(self, name: str, decide: Callable[[Job], events.AnyEvent]) -> Entry:
        entry, _ = self._book.sound(name)
        await self._record(entry, decide)
        failpoint("verb.recorded")
        entry.wake.set()
        self._scheduler.ring()
        return entry

    async def _refuse_if_locked(self, name: str) -> None:
        """Of another container, or of another machine on a volume with locks, this is seen from here too."""
        entry, job = self._book.sound(name)
        if not isinstance(job.state, Lost):
            return
        number = job.state.attempt.number
        folder = entry.folder.attempt(number)
        try:
            found = await lanes.answer(str(entry.folder.path), records_on_disk.read, folder)
        except OSError as error:
            raise StorageFailed(f"{folder} cannot be read: {error.strerror}.") from error
        if found.lock_held:
            why = f"attempt {number} still runs: its supervising process holds {folder / 'lock'}"
            raise wrong_state(job, why)

    def _disown(self, job: Job, state: Lost) -> events.AnyEvent:
        seen = state.attempt.place == self._runner.here and self._runner.knows(state.attempt.adapter)
        if seen:
            raise wrong_state(
                job, "it was lost on this machine, where FluxGym sees by itself when nothing of it is left"
            )
        return events.Disowned(at=time.time(), attempt=state.attempt.number)


def _step_back(job: Job) -> events.AnyEvent:
    _must_wait(job)
    return events.Moved(at=time.time(), priority=job.priority, rank=job.rank + 1.0)


def _must_wait(job: Job) -> None:
    if not isinstance(job.state, Waiting):
        raise wrong_state(job, f"it is {wire_state(job.state)} and does not wait in the queue")


def wrong_state(job: Job, why: str) -> WrongState:
    """What was asked for is not possible now."""
    return WrongState(f"The job {job.name}: {why}.", name=job.name, state=wire_state(job.state))
