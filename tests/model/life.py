# SPDX-License-Identifier: Apache-2.0
"""One life of the daemon: the daemon's real parts on a real home, from its start to its death.

The parts are put together as in fluxgymd/daemon.py, but without a socket, a bus and NVML. When it dies, only the disk
is kept.
"""

import asyncio
import importlib
import logging
import pkgutil
import secrets
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fluxgym.config import Config, load
from fluxgym.errors import FluxgymError, NameTaken
from fluxgym.protocol.messages import Context
from fluxgymd import jobs, requests, run
from fluxgymd.core.job import Job, Live
from fluxgymd.core.journal import events as e
from fluxgymd.gpus.machine import Gpus
from fluxgymd.gpus.quarantine import Quarantine
from fluxgymd.jobs import loading
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.edit import Editor
from fluxgymd.requests.steering import Steering
from fluxgymd.requests.submit import Submitter
from fluxgymd.requests.takeover import Takeover
from fluxgymd.requests.verbs import Verbs
from fluxgymd.run.attempt_adapters import AttemptAdapters
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.runner import Runner
from fluxgymd.run.scheduler import Resources, Scheduler
from fluxgymd.run.starting import Starter
from fluxgymd.run.trash import Trash
from fluxgymd.run.watching import Watcher
from fluxgymd.store import atomic, journal, writer
from fluxgymd.store.atomic import write_file
from fluxgymd.store.home import JOURNAL, Home
from fluxgymd.store.machine import MachineState
from fluxgymd.store.writer import Writer
from fluxgymd.trainers import settings
from fluxgymd.trainers.choice import Trainers
from fluxgymd.trainers.ours import OurTrainer
from fluxgymd.trainers.port import CheckReport, Question
from tests.model.adapter import ModelAdapter
from tests.model.clock import Loop
from tests.model.world import Attempt, World
from tests.requests.stored import sources_of

STOP_LIMIT = 10.0

Answered = Callable[[FluxgymError | None], None]


def install(world: World, patch: pytest.MonkeyPatch) -> None:
    """Gives the daemon the model's clock, and the store the model's disk."""
    rooms = (jobs, requests, run)
    names = [module.name for room in rooms for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")]
    for module in [*map(importlib.import_module, names), writer]:
        if hasattr(module, "time"):
            patch.setattr(module, "time", world.clock)
    for module in (atomic, journal):
        patch.setattr(module, "write_all", world.write_all)


class KnownGpus(Gpus):
    """GPUs as after an answer from NVML."""

    def __init__(self, uuids: list[str]) -> None:
        super().__init__()
        self._uuids = uuids
        self.asked = True


class NoModels(OurTrainer):
    """A trainer whose check of a job always succeeds, since there are neither model files nor a program to ask."""

    async def check(self, _question: Question) -> CheckReport:
        return CheckReport()


class ModelTrainers(Trainers):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.training = NoModels(config)

    def look_now(self) -> None:
        """Does nothing, since there is no trainer to examine."""


class Life:
    """The daemon, from `begin` to `die`."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self._folder = folder
        self._wanted: set[str] = set()
        self.faults: list[str] = []
        self.found: set[str] = set()
        """The marks of the attempts that had not ended when this life began."""
        self.loop: Loop
        self.on_death: Callable[[], None] = lambda: None
        """Called just before this life's memory is lost."""

    def begin(self) -> None:
        """Starts the daemon, in the order of the real one."""
        world = self.world
        self.loop = Loop(world.clock, Random(world.chance.random()), world.moves)
        self.loop.faults = self.faults
        home = Home(world.home)
        home.prepare()
        self.registry = Registry(home, Writer())
        self.registry.load()
        self.gpus = KnownGpus(world.here.gpus)
        self.machine = MachineState(self._folder / "state", world.here.place.machine_id)
        self.adapter = ModelAdapter(world=world, loop=self.loop, may_end=self._may_end)
        config = load(
            {
                "HOME": str(self._folder),
                "FLUXGYM_HOME": str(world.home),
                "FLUXGYM_SOCKET": str(self._folder / "socket"),
                "FLUXGYM_STOP_LIMIT_SECONDS": str(STOP_LIMIT),
            }
        )
        trainers = ModelTrainers(config)
        due = asyncio.Event()
        adapters = AttemptAdapters(
            by_name={"scope": self.adapter, "process": self.adapter}, chosen="scope", here=world.here.place
        )
        self.runner = Runner(
            self.registry,
            adapters,
            trainers,
            Starter(
                self.registry,
                adapters,
                config,
                trainers,
                paused=lambda: self.machine.paused,
                home_problem=lambda: None,
            ),
            Watcher(self.registry, trainers, config),
            done=due.set,
        )
        self.scheduler = Scheduler(
            self.registry,
            self.runner,
            Resources(
                gpus=self.gpus,
                machine=self.machine,
                program_slots=config.program_slots,
                set_aside=Quarantine(self.machine, self.gpus).look,
            ),
            due=due,
            after_pass=_nothing,
            home_problem=lambda: None,
        )
        preflight = Preflight(self.registry, trainers, self.gpus)
        copier = Copier()
        takeover = Takeover(self.registry, preflight, trainers, copier)
        self.submitter = Submitter(self.registry, preflight, trainers, copier, sources_of(self.registry))
        self.verbs = Verbs(self.registry, self.runner, self.scheduler, preflight, trainers, takeover.record)
        self.steering = Steering(self.registry, trainers, adapters.of)
        self.trash = Trash(self.registry, days=7.0)
        self.editor = Editor(self.registry, preflight, trainers, self.scheduler, takeover)
        self.loop.run_to_end(self._adopt())
        self._passes = self.loop.create_task(self.scheduler.run(), name="scheduler")

    async def _adopt(self) -> None:
        self.found = set()
        for entry in self.registry:
            if entry.damage is None and entry.job is not None and isinstance(entry.job.state, Live):
                self.found.add(entry.job.state.attempt.mark)
                self.runner.adopt(entry)

    def call(self, name: str, work: Coroutine[Any, Any, Any], answered: Answered) -> None:
        """Makes a client's call. `answered` receives None, or the error with which the call was refused."""
        task = self.loop.create_task(work, name=name)
        task.add_done_callback(lambda task: self._answer(task, answered))

    def _answer(self, task: "asyncio.Task[Any]", answered: Answered) -> None:
        if self.loop.dead or task.cancelled():
            return
        error = task.exception()
        if error is None or isinstance(error, FluxgymError):
            answered(error)
        else:
            self.faults.append(f"{task.get_name()} raised {error!r}")

    async def submit(self, context: Context) -> None:
        await self.submitter.submit(context)
        self.scheduler.request_pass()

    async def submit_training(self, context: Context) -> None:
        """Submits a training like `Submitter`, but without checking models and pictures, as there are none."""
        context = settings.complete_training(context, self.registry.home.path)
        job_id = secrets.token_hex(16)
        now = self.world.clock.time()
        event = e.Submitted(at=now, id=job_id, context=context, priority=context.priority or 0, rank=now)
        built = await self.registry.disk(lambda: self.registry.home.new_folder(job_id))
        try:
            await self.registry.disk(lambda: write_file(built / JOURNAL, e.encode(event)))
            if self.registry.has(context.name) or self.registry.home.folder(context.name).path.exists():
                raise NameTaken(f"There is a job {context.name} already.", name=context.name)
            folder = await self.registry.disk(lambda: self.registry.home.publish(built, context.name))
        finally:
            await asyncio.to_thread(shutil.rmtree, built, ignore_errors=True)
        self.registry.add(folder, loading.read(folder))
        self.scheduler.request_pass()

    async def restore(self, name: str) -> None:
        await self.trash.restore(name)
        self.scheduler.request_pass()

    async def pause(self, *, paused: bool) -> None:
        await self.registry.disk(lambda: self.machine.pause(paused=paused))
        self.scheduler.request_pass()

    def stop(self) -> None:
        """Ends the daemon as SIGTERM does: first its tasks, then the process."""
        self.loop.run_to_end(self.runner.close())
        self.die()

    def die(self) -> None:
        """kill -9. A shim that waits at a gate of this daemon reads end of file. A shim without a scope of its own is
        still in the service's cgroup, so systemd may kill it as well."""
        self.on_death()
        self.loop.die()
        self.registry.writer.close()
        for attempt in self.world.attempts:
            if attempt.gate == "closed" and not attempt.in_unit and self.world.chance.random() < 0.5:
                self.world.shim_dies(attempt)
            self.world.close_gate(attempt)

    def jobs(self) -> dict[str, Job]:
        return {entry.name: entry.job for entry in self.registry if entry.job is not None}

    def wants_to_end(self, name: str) -> None:
        """Notes that a user has asked to stop this job."""
        self._wanted.add(name)

    def _may_end(self, attempt: Attempt) -> bool:
        return attempt.job in self._wanted or attempt.end is not None


class FaultLog(logging.Handler):
    """Records what the daemon logs with a traceback: a fault in the daemon, even if it recovered."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._faults.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


async def _nothing() -> None:
    """Stands in for updating the sleep inhibitor."""
