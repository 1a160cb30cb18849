# SPDX-License-Identifier: Apache-2.0
"""One job from submit to removal, with a client that persists like a user: whatever dies, it continues."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fluxgym.errors import DaemonUnreachable, FluxgymError, NameTaken, NoSuchJob, WrongState
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, Job, State
from tests.crash.mortal import Died, MortalDaemon
from tests.crash.promises import Memory, check_swept
from tests.daemon.running import FINAL, TRAINING_SECONDS
from tests.harness.waiting import until

Look = Callable[[Job], bool]


class Paused(Exception):
    """The job is interrupted, and its retry is more than a few seconds away."""


class Life:
    def __init__(self, daemon: MortalDaemon, context: Context) -> None:
        self.daemon = daemon
        self.context = context
        self.name = str(context.name)
        self.memory = Memory()
        self.between: Callable[[], None] = lambda: None
        """Called after each death, before the daemon starts again."""

    def survive(self, step: Callable[[], Any]) -> Any:
        """Repeats a step until the daemon survives it; returns its result. Checks the promises after each death."""
        while True:
            try:
                if self.daemon.process is None:
                    self.daemon.start()
                    check_swept(self.daemon)
                    self._acknowledged_is_there()
                return step()
            except (Died, DaemonUnreachable):
                self._mourn()
            except FluxgymError:
                if not self._died():  # another process was killed, which the daemon reports
                    raise
                self._mourn()

    def submit(self) -> None:
        """Submits until the job exists. A taken name means that an earlier submit succeeded without an answer."""

        def submit() -> None:
            exists = self._there()
            try:
                self.daemon.submit(self.context)
            except NameTaken:
                assert exists, "the name is taken, and there is no job"
            else:
                assert not exists, "a job was submitted twice"
            self.memory.acknowledged.add(self.name)

        self.survive(submit)

    def wait(self, look: Look, *, what: str) -> Job:
        """Waits until `look` is true of the job."""

        def once() -> Job | None:
            self.daemon.look()
            job = self.daemon.job(self.name)
            return job if look(job) else None

        job = self.survive(lambda: until(once, what=what, deadline_seconds=TRAINING_SECONDS))
        self.survive(self.daemon.look)  # the shim may have died in its very last action
        assert isinstance(job, Job)
        return job

    def wait_for_step(self, step: int) -> Job:
        def reached(job: Job) -> bool:
            state = job.runtime.state
            assert state not in FINAL, f"it ended too early: {job.runtime}\n{self.daemon.training_log(self.name)}"
            progress = job.runtime.progress
            return state is State.RUNNING and progress is not None and (progress.step or 0) >= step

        return self.wait(reached, what=f"{self.name} to do step {step}")

    def wait_for(self, *states: State, allowed: tuple[State, ...] = ()) -> Job:
        """Waits until the job is in one of the states. After a second interruption without a new checkpoint, FluxGym
        pauses before it retries; like a user in a hurry, this stops and resumes the job instead of waiting."""

        def there(job: Job) -> bool:
            state = job.runtime.state
            if state is State.INTERRUPTED and (job.runtime.not_before or 0.0) > time.time() + 5:
                raise Paused
            ended = state in FINAL and state not in (*states, *allowed)
            assert not ended, f"it ended: {job.runtime}\n{self.daemon.training_log(self.name)[-4000:]}"
            return state in states

        while True:
            try:
                return self.wait(there, what=f"{self.name} to be {' or '.join(states)}")
            except Paused:
                self.ask(m.STOP)
                self.ask(m.RESUME)
                allowed = (*allowed, State.STOPPED)

    def ask(self, method: m.Method[Any, Any], **more: Any) -> None:
        """Calls a verb until it is answered. An answer may be lost, so a repeated call may be refused because the
        verb has already been carried out."""
        asked = False

        def once() -> None:
            nonlocal asked
            again, asked = asked, True
            try:
                self.daemon.call(method, method.parameters(name=self.name, **more))
            except (WrongState, NoSuchJob):
                if not again:
                    raise

        self.survive(once)

    def remove(self, *, now: bool = False) -> None:
        """Repeats the removal until the job and its folder are gone. `now`: not even the trash has them."""
        self.memory.forget(self.name)
        self.ask(m.REMOVE, now=now)
        self.survive(lambda: until(lambda: not self._there(), what="the job to be gone"))
        self.memory.forget(self.name)  # check_disk may have seen its journal again in between
        assert not self.daemon.folder(self.name).exists()

    def leave(self) -> None:
        """Ends the daemon with SIGTERM."""
        while True:
            self.survive(self.daemon.info)
            try:
                self.daemon.leave()
                return
            except Died:
                self._mourn()

    def _there(self) -> bool:
        """Whether the daemon knows the job. Checks that the disk agrees."""
        try:
            self.daemon.job(self.name)
        except NoSuchJob:
            assert not self.daemon.folder(self.name).exists()
            return False
        assert self.daemon.folder(self.name).exists()
        return True

    def _died(self) -> bool:
        try:
            self.daemon.look()
        except Died:
            return True
        return False

    def _mourn(self) -> None:
        """Makes sure after a death that the daemon is dead, then checks the promises on the disk."""
        if self.daemon.process is not None:
            until(self._died, what="the dead daemon to be found at a failpoint")
        self.memory.check_disk(self.daemon.home, self.daemon.trainers)
        self.between()

    def _acknowledged_is_there(self) -> None:
        if self.name in self.memory.acknowledged:
            assert self._there(), "promise 3: it was acknowledged"
