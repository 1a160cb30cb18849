# SPDX-License-Identifier: Apache-2.0
"""The passes of the scheduler: it gathers the facts, core/schedule.py decides, and the runner acts.

A pass runs whenever something has changed, and at least every few seconds. The daemon's heartbeat depends on when the
last pass *finished*: a task that merely exists proves nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fluxgym.errors import WrongState
from fluxgym.protocol.messages import WaitingFor
from fluxgymd.core import schedule
from fluxgymd.core.job import Job
from fluxgymd.failpoints import failpoint
from fluxgymd.gpus.machine import Gpus
from fluxgymd.jobs.registry import Registry
from fluxgymd.jobs.states import wire_state
from fluxgymd.run.runner import Runner
from fluxgymd.store.machine import MachineState
from fluxgymd.trainers.choice import traits

log = logging.getLogger(__name__)

PASS_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What this machine has for jobs."""

    gpus: Gpus
    machine: MachineState
    program_slots: int
    set_aside: Callable[[], Awaitable[frozenset[str]]]
    """The GPUs that may be given to no job at present."""


class Scheduler:
    def __init__(
        self,
        registry: Registry,
        runner: Runner,
        resources: Resources,
        *,
        due: asyncio.Event,
        after_pass: Callable[[], Awaitable[None]],
        home_problem: Callable[[], str | None],
    ) -> None:
        """`home_problem`: why nothing may be started in this home at present (Ownership.problem)."""
        self._registry = registry
        self._runner = runner
        self._resources = resources
        self._after_pass = after_pass
        self._home_problem = home_problem
        self._due = due  # set by all code that changes what a pass looks at
        self.problem: str | None = None
        """Why nothing is started at present."""
        self.fault: str | None = None
        """The exception that ended the last pass, in one sentence; None if it finished."""
        self.last_pass = time.monotonic()

    def request_pass(self) -> None:
        """Something changed: a pass is due."""
        self._due.set()

    def place_before(self, job: Job, before: str | None) -> tuple[int, float] | None:
        """The priority and rank that put a job right before another waiting one, or at the front. None if no rank is
        left between its neighbours: the jobs of `in_the_way` must move first. WrongState if the other one does not
        wait."""
        line, index = self._line(job, before)
        return schedule.place_at(line, index, job)

    def in_the_way(self, job: Job, before: str | None) -> list[Job]:
        """The jobs that must move back first, in this order; usually none."""
        line, index = self._line(job, before)
        return [] if schedule.place_at(line, index, job) is not None else schedule.make_room(line, index)

    def _line(self, job: Job, before: str | None) -> tuple[list[Job], int]:
        """The queue without the job, and the index in it of the other one (0 if there is none)."""
        line = [other for other in schedule.queue(self._registry.jobs()) if other.name != job.name]
        index = 0
        if before is not None:
            _, target = self._registry.sound(before)
            if target not in line:
                raise WrongState(
                    f"The job {before} is not waiting in the queue.", name=before, state=wire_state(target.state)
                )
            index = line.index(target)
        return line, index

    async def run(self) -> None:
        """Runs passes forever."""
        while True:
            try:
                await self._pass()
                await self._after_pass()
                self.last_pass = time.monotonic()
                self.fault = None
            except Exception as error:
                log.exception("a pass of the scheduler failed")
                self.fault = f"The last pass of the scheduler failed ({type(error).__name__}: {error}); see the log."
            try:
                async with asyncio.timeout(PASS_SECONDS):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()

    async def _pass(self) -> None:
        gpus, here = self._resources.gpus, self._resources.machine
        set_aside = await self._resources.set_aside()
        supervisor = await self._runner.adapter.problem()
        home = self._home_problem()  # after the last await, so it still holds when a start is decided below
        self.problem = home or supervisor or gpus.uncertain
        entries = {entry.name: entry for entry in self._registry.open()}
        jobs = {job.name: job for job in self._registry.jobs()}
        ahead = {name for job in jobs.values() for name in job.context.after or () if self._registry.has(name)}
        for over in map(self._registry.entry, ahead):
            if over.job is not None and over.damage is None:
                jobs[over.name] = over.job
        obstacle = None
        if home is not None:
            obstacle = WaitingFor.HOME
        elif supervisor is not None:
            obstacle = WaitingFor.SUPERVISOR
        elif gpus.uncertain or not gpus.asked:
            obstacle = WaitingFor.GPU
        now = time.monotonic()
        machine = schedule.Machine(
            machine_id=here.machine_id,
            gpus=gpus.uuids,
            set_aside=set_aside,
            program_slots=self._resources.program_slots,
            paused=here.paused,
            problem=obstacle,
            held=self._registry.doubtful_leases(),
            starting=self._runner.starting(),
            programs=frozenset(name for name, job in jobs.items() if not traits(job.context).needs_gpu),
            resting=frozenset(
                name for name, entry in entries.items() if entry.now.not_before > now or entry.journal.in_doubt
            ),
        )
        for decision in schedule.decide(jobs, machine, time.time()):
            entry = entries[decision.job]
            match decision:
                case schedule.Start():
                    self._registry.waits(entry, WaitingFor.START)
                    failpoint("schedule.chosen")
                    self._runner.start(entry, decision.gpus)
                case schedule.Wait():
                    self._registry.waits(entry, decision.reason, decision.detail)
