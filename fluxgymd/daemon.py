# SPDX-License-Identifier: Apache-2.0
"""The daemon: its parts, and the order in which they start and stop.

Start: take the home, read the journals, adopt the running attempts, serve clients, report READY, and only then start
attempts. A scope that is ordered after this service waits for READY, so one created earlier would wait forever.
Stop: report STOPPING, accept no calls, and leave the jobs alone.
"""

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from fluxgym import paths
from fluxgym.config import Config, exposed
from fluxgym.messages import Linger
from fluxgymd.api import service
from fluxgymd.api.jobs import Jobs
from fluxgymd.api.machine import Machine
from fluxgymd.api.server import Server
from fluxgymd.attempts import place
from fluxgymd.attempts.adapters import Supervisors, connect
from fluxgymd.core.job import Live, Waiting
from fluxgymd.failpoints import failpoint
from fluxgymd.gpus.machine import Gpus
from fluxgymd.gpus.quarantine import Quarantine
from fluxgymd.heartbeat import Heartbeat
from fluxgymd.hooks import calls
from fluxgymd.host.lateness import WatchedSelector
from fluxgymd.host.linger import linger
from fluxgymd.host.listen import OwnSocket, activated
from fluxgymd.host.notify import Notifier
from fluxgymd.host.sleep import SleepGuard
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.edit import Editor
from fluxgymd.requests.submit import Submitter
from fluxgymd.requests.takeover import Takeover
from fluxgymd.requests.verbs import Verbs
from fluxgymd.run.degraded import Degraded
from fluxgymd.run.disk_room import DiskRoom
from fluxgymd.run.forgotten import Forgotten
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.runner import Runner
from fluxgymd.run.scheduler import Scheduler
from fluxgymd.store import compile_cache
from fluxgymd.store.disk_trial import DiskTrial
from fluxgymd.store.home import Home
from fluxgymd.store.machine import MachineState
from fluxgymd.store.owner import RENEW_SECONDS, HomeTaken, Ownership
from fluxgymd.store.writer import Writer
from fluxgymd.trainers.choice import Trainers
from fluxgymd.watchdog.watch import Watch
from fluxgymd.work import lanes
from fluxgymd.work.tasks import LongTasks

log = logging.getLogger(__name__)

GPU_SECONDS = 60.0
"""The time between two questions to NVML while a job runs or waits: a GPU may have come or gone."""
IDLE_GPU_SECONDS = 600.0
"""The time between two questions while there is no such job. The helper that asks ends in between."""
THE_HOME = "the home"
"""The name of the lane for the home's record. No job can have this name."""


class Daemon:
    """The running daemon, from `__aenter__` to `__aexit__`. Raises FluxgymError or OSError if it cannot start."""

    def __init__(self, config: Config, selector: WatchedSelector) -> None:
        self._config = config
        self._selector = selector
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._notifier.stopping()
        failpoint("daemon.stops")
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        config = self._config
        calls.check(config, os.environ)
        if (problem := exposed(config, os.environ)) is not None:
            log.warning("%s", problem)
        here = place.here()
        own_socket = OwnSocket(config.socket)
        listening = activated(os.environ)
        if listening is None:
            listening = own_socket.open()
            stack.callback(own_socket.close)

        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = Ownership(config.home, here, config.socket)
        owner.take()
        stack.callback(owner.release)
        failpoint("daemon.owns")
        home = Home(config.home)
        home.prepare()
        os.environ.update(compile_cache.variables(config.home, os.environ))  # for every program that imports torch
        failpoint("daemon.prepared")
        writer = Writer()
        stack.callback(writer.close)
        registry = Registry(home, writer)
        registry.load()
        failpoint("daemon.loaded")
        hooks = calls.Hooks(config, os.environ)
        stack.push_async_callback(hooks.close)
        registry.on_event = hooks.tell

        machine_state = MachineState(paths.machine_state(os.environ), here.machine_id, here.boot_id)
        if machine_state.problem is not None:
            log.warning("%s", machine_state.problem)
        supervisors = await connect(config)
        stack.push_async_callback(supervisors.close)
        gpus = Gpus()
        stack.push_async_callback(gpus.close)
        quarantine = Quarantine(machine_state, gpus)
        forgotten = Forgotten(registry, here, stop_limit=config.stop_limit)
        sleep = SleepGuard(supervisors.inhibit_sleep)

        async def guard_sleep() -> None:
            await sleep.update(needed=any(lease for lease in registry.leases()))

        async def set_aside() -> frozenset[str]:
            return await quarantine.look() | await forgotten.gpus()

        trainers = Trainers(config)
        await trainers.look()
        due = asyncio.Event()
        runner = Runner(
            registry,
            adapters=supervisors.adapters,
            chosen=supervisors.choice.adapter,
            here=here,
            config=config,
            trainers=trainers,
            paused=lambda: machine_state.paused,
            home_problem=owner.problem,
            done=due.set,
            unkillable=quarantine.unkillable,
            watchdog=lambda entry, adapter: Watch(registry, entry, adapter, trainers, gpus=gpus, config=config),
        )
        scheduler = Scheduler(
            registry,
            runner,
            gpus,
            machine=machine_state,
            machine_id=here.machine_id,
            program_slots=config.program_slots,
            due=due,
            after_pass=guard_sleep,
            set_aside=set_aside,
            home_problem=owner.problem,
        )
        stack.push_async_callback(runner.close)
        for entry in registry.open():
            if entry.damage is None and entry.job is not None and isinstance(entry.job.state, Live):
                failpoint("daemon.adopts")
                runner.adopt(entry)

        tasks = LongTasks()
        stack.push_async_callback(tasks.close)
        room = DiskRoom(config.home)
        degraded = Degraded(registry, scheduler, machine_state, quarantine, forgotten, room=room, tasks=tasks)
        preflight = Preflight(registry, trainers, gpus)
        copier = Copier()
        takeover = Takeover(registry, preflight, trainers, copier)
        jobs = Jobs(
            registry,
            submitter=Submitter(registry, preflight, trainers, copier),
            verbs=Verbs(registry, runner, scheduler, preflight, trainers, takeover.record),
            editor=Editor(registry, preflight, trainers, scheduler, takeover),
            trainers=trainers,
            request_pass=scheduler.request_pass,
            warn=lambda: _warnings(supervisors),
            config=config,
            forgotten=forgotten,
        )
        machine = Machine(
            config=config,
            registry=registry,
            gpus=gpus,
            choice=supervisors.choice,
            degraded=degraded,
            sleep=sleep,
            machine=machine_state,
            quarantine=quarantine,
            request_pass=scheduler.request_pass,
            loop_late=self._selector.longest,
        )
        server = Server([*service.routes(), *jobs.routes(), *machine.routes()])
        failpoint("daemon.adopted")
        server.start(listening)
        failpoint("daemon.serves")
        stack.push_async_callback(server.close)

        self._notifier = Notifier()
        heartbeat = Heartbeat(
            self._notifier,
            writer,
            DiskTrial(config.home),
            supervisors.ping,
            last_pass=lambda: scheduler.last_pass,
            failing=tasks.failing,
            status=lambda: _status(registry, degraded.reasons()),
        )
        self._notifier.ready()
        failpoint("daemon.ready")
        log.info("fluxgymd serves at %s; its home is %s", config.socket, config.home)
        tasks.start("gpus", lambda: _ask_gpus(gpus, scheduler, registry))
        tasks.start("scheduler", scheduler.run)
        tasks.start("owner", lambda: _renew(owner, registry, runner, scheduler))
        tasks.start("disk", room.run)
        tasks.start("heartbeat", heartbeat.run)


async def _ask_gpus(gpus: Gpus, scheduler: Scheduler, registry: Registry) -> None:
    """Keeps the list of GPUs current. Runs only after READY, since NVML may be slow."""
    while True:
        before = (gpus.asked, gpus.uuids, gpus.lost, gpus.uncertain)
        await gpus.ask(max_age=0.0 if registry.open() else IDLE_GPU_SECONDS)
        if (gpus.asked, gpus.uuids, gpus.lost, gpus.uncertain) != before:
            log.info("%s", gpus.problem or f"GPUs: {', '.join(gpus.uuids)}")
            scheduler.request_pass()
        await asyncio.sleep(GPU_SECONDS)


async def _renew(owner: Ownership, registry: Registry, runner: Runner, scheduler: Scheduler) -> None:
    """Renews the home's record until another daemon takes the home. Then this daemon no longer watches, records or
    starts anything (promises 4 and 8)."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await lanes.run(THE_HOME, owner.renew)
        except HomeTaken:
            registry.loss = owner.problem()
            log.error("%s", registry.loss)
            await runner.close()
            scheduler.request_pass()
            return
        except OSError as error:
            registry.disk_refused(error)
            log.warning("owner.json could not be renewed: %s", error)
        else:
            registry.written_beside()


def _warnings(supervisors: Supervisors) -> list[str]:
    if supervisors.choice.adapter == "scope" and linger() is Linger.DISABLED:
        return ["Linger is off: your jobs end when you log out. Enable it with: loginctl enable-linger"]
    return []


def _status(registry: Registry, degraded: list[str]) -> str:
    opened = registry.open()
    live = [entry for entry in opened if entry.job is not None and isinstance(entry.job.state, Live)]
    waiting = sum(1 for entry in opened if entry.job is not None and isinstance(entry.job.state, Waiting))
    parts = [f"{len(live)} running, {waiting} waiting"]
    for entry in live[:3]:
        progress = entry.now.progress
        if progress is not None and progress.step is not None:
            parts.append(f"{entry.name} step {progress.step}/{progress.total_steps}")
    if degraded:
        parts.append("degraded: " + " ".join(degraded))
    return "; ".join(parts)
