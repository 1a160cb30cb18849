# SPDX-License-Identifier: Apache-2.0
"""Stop, resume and remove: each decides on the job as it is at that moment, and records before it acts."""

import time

from fluxgym.errors import WrongState
from fluxgymd.core import events
from fluxgymd.core.job import Completed, Failed, Final, Interrupted, Job, Live, Lost, Stopped, Stopping, Waiting
from fluxgymd.engine.book import Book, Entry
from fluxgymd.engine.ending import stop_asked
from fluxgymd.engine.runner import Runner
from fluxgymd.engine.scheduler import Scheduler
from fluxgymd.engine.view import wire_state
from fluxgymd.failpoints import failpoint


class Verbs:
    def __init__(self, book: Book, runner: Runner, scheduler: Scheduler) -> None:
        self._book = book
        self._runner = runner
        self._scheduler = scheduler

    async def stop(self, name: str) -> Entry:
        """Cancels a waiting job, asks a running one to end. WrongState if there is nothing to stop."""
        entry, _ = self._book.sound(name)

        def decide(job: Job) -> events.AnyEvent:
            now = time.time()
            match job.state:
                case _ if isinstance(job.state, Waiting):
                    return events.Cancelled(at=now)
                case Stopping() | Lost() if stop_asked(job):
                    raise _wrong(job, "it is being stopped already")
                case _ if isinstance(job.state, Live):
                    return events.StopAsked(at=now, attempt=job.state.attempt.number)
                case _:
                    raise _wrong(job, f"it is {wire_state(job.state)} and does not run")

        await self._book.decide(entry, decide)
        failpoint("stop.recorded")
        entry.wake.set()
        self._scheduler.ring()
        return entry

    async def resume(self, name: str) -> Entry:
        """Queues an ended job again. WrongState if it is complete, runs, or waits already."""
        entry, _ = self._book.sound(name)

        def decide(job: Job) -> events.AnyEvent:
            match job.state:
                case Stopped() | Failed():
                    return events.ResumeAsked(at=time.time())
                case Completed():
                    raise _wrong(job, "it is completed; submit it under a new name to train it again")
                case Interrupted():
                    raise _wrong(job, "it will be resumed by itself")
                case _:
                    raise _wrong(job, f"it is {wire_state(job.state)} already")

        await self._book.decide(entry, decide)
        failpoint("resume.recorded")
        entry.start_problem = None
        entry.not_before = 0.0
        self._scheduler.ring()
        return entry

    async def remove(self, name: str) -> None:
        """Deletes a job of which nothing runs. WrongState for a live or waiting one."""
        entry, job = self._book.sound(name)
        if isinstance(job.state, Final):
            await self._runner.settled(name)

        def check(job: Job) -> None:
            if not isinstance(job.state, Final) or self._runner.busy(name):
                raise _wrong(job, f"it is {wire_state(job.state)}; stop it first")

        await self._book.remove(entry, check)


def _wrong(job: Job, why: str) -> WrongState:
    return WrongState(f"The job {job.name}: {why}.", name=job.name, state=wire_state(job.state))
