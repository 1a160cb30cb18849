# SPDX-License-Identifier: Apache-2.0
"""The parts of the daemon, and how they are connected. `daemon.py` has the order in which they start and stop."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from fluxgym import paths
from fluxgym.activation import activated
from fluxgym.config import Config
from fluxgym.protocol.machine_messages import CheckOutcome
from fluxgymd.api import service
from fluxgymd.api.calls import Route
from fluxgymd.api.datasets import DatasetMethods
from fluxgymd.api.event_stream import EventStreams
from fluxgymd.api.job_outputs import JobOutputs
from fluxgymd.api.job_views import JobViews
from fluxgymd.api.jobs import Jobs
from fluxgymd.api.machine import DaemonMethods, GpuMethods, QueueMethods
from fluxgymd.api.overview import Overview
from fluxgymd.api.presets import Presets
from fluxgymd.api.steering import SteeringMethods
from fluxgymd.attempts import place
from fluxgymd.attempts.adapters import Supervisors, connect
from fluxgymd.core import checks
from fluxgymd.core.job import Live
from fluxgymd.core.journal.records import Place
from fluxgymd.datasets.adding import Adder
from fluxgymd.datasets.datasets import Datasets
from fluxgymd.datasets.importing import Importer
from fluxgymd.datasets.purging import Purger
from fluxgymd.datasets.thumbnails import Thumbnails
from fluxgymd.failpoints import failpoint
from fluxgymd.gpus.machine import Gpus
from fluxgymd.gpus.quarantine import Quarantine
from fluxgymd.host.linger import linger
from fluxgymd.host.listen import FD_NAME, OwnSocket
from fluxgymd.host.sleep import SleepGuard
from fluxgymd.jobs.registry import Registry
from fluxgymd.pictures.small_copies import SmallCopies
from fluxgymd.presets.shelf import Shelf
from fluxgymd.requests.check_machine import MachineChecks
from fluxgymd.requests.compose import Composer
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.edit import Editor
from fluxgymd.requests.export import Exporter
from fluxgymd.requests.plan import Planner
from fluxgymd.requests.prune import Pruner
from fluxgymd.requests.sources import Sources
from fluxgymd.requests.speeds import Speeds
from fluxgymd.requests.steering import Steering
from fluxgymd.requests.submit import Submitter
from fluxgymd.requests.takeover import Takeover
from fluxgymd.requests.verbs import Verbs
from fluxgymd.run.attempt_adapters import AttemptAdapters
from fluxgymd.run.degraded import Degraded
from fluxgymd.run.disks import Disks
from fluxgymd.run.forgotten import Forgotten
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.runner import Runner
from fluxgymd.run.scheduler import Resources, Scheduler
from fluxgymd.run.starting import Starter
from fluxgymd.run.trash import Trash
from fluxgymd.run.watching import Watcher
from fluxgymd.store.caches import compile_cache, shared_caches
from fluxgymd.store.dataset_folders import DatasetFolders
from fluxgymd.store.home import Home
from fluxgymd.store.machine import MachineState
from fluxgymd.store.owner import Ownership
from fluxgymd.store.pictures import PictureStore
from fluxgymd.store.writer import Writer
from fluxgymd.trainers.choice import Trainers
from fluxgymd.watchdog.watch import Watch

log = logging.getLogger(__name__)

CACHES = (compile_cache.INDUCTOR, compile_cache.TRITON, shared_caches.VARIABLE)
"""The variables that name the folders of caches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What everything else stands on: the socket, and the home with its jobs."""

    here: Place
    listening: socket.socket
    owner: Ownership
    writer: Writer
    registry: Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What runs the jobs."""

    supervisors: Supervisors
    gpus: Gpus
    machine: MachineState
    quarantine: Quarantine
    forgotten: Forgotten
    trash: Trash
    sleep: SleepGuard
    trainers: Trainers
    runner: Runner
    scheduler: Scheduler


def take_home(config: Config, stack: AsyncExitStack) -> Ground:
    """Takes the home and reads its journals. FluxgymError or OSError if that is impossible. Blocks."""
    here = place.here()
    own_socket = OwnSocket(config.socket)
    listening = activated(os.environ, FD_NAME)
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
    os.environ.update(shared_caches.variables(config.home, os.environ))
    failpoint("daemon.prepared")
    writer = Writer()
    stack.callback(writer.close)
    registry = Registry(home, writer)
    registry.load()
    failpoint("daemon.loaded")
    return Ground(here=here, listening=listening, owner=owner, writer=writer, registry=registry)


async def make_parts(config: Config, ground: Ground, stack: AsyncExitStack) -> Parts:
    """Connects to this machine's systemd and makes what runs the jobs. Nothing of it does anything yet."""
    machine = MachineState(paths.machine_state(os.environ), ground.here.machine_id, ground.here.boot_id)
    if machine.problem is not None:
        log.warning("%s", machine.problem)
    supervisors = await connect(config)
    stack.push_async_callback(supervisors.close)
    gpus = Gpus()
    stack.push_async_callback(gpus.close)
    quarantine = Quarantine(machine, gpus)
    forgotten = Forgotten(ground.registry, ground.here, stop_limit=config.stop_limit)
    sleep = SleepGuard(supervisors.inhibit_sleep)
    trainers = Trainers(config)
    await trainers.look()
    due = asyncio.Event()
    adapters = AttemptAdapters(by_name=supervisors.adapters, chosen=supervisors.choice.adapter, here=ground.here)
    starter = Starter(
        ground.registry,
        adapters,
        config,
        trainers,
        paused=lambda: machine.paused,
        home_problem=ground.owner.problem,
    )
    watcher = Watcher(
        ground.registry,
        trainers,
        config,
        unkillable=quarantine.unkillable,
        watchdog=lambda entry, adapter: Watch(ground.registry, entry, adapter, trainers, gpus=gpus, config=config),
    )
    runner = Runner(ground.registry, adapters, trainers, starter, watcher, done=due.set)
    stack.push_async_callback(runner.close)

    async def guard_sleep() -> None:
        await sleep.update(needed=any(lease for lease in ground.registry.leases()))

    async def set_aside() -> frozenset[str]:
        return await quarantine.look() | await forgotten.gpus()

    scheduler = Scheduler(
        ground.registry,
        runner,
        Resources(gpus=gpus, machine=machine, program_slots=config.program_slots, set_aside=set_aside),
        due=due,
        after_pass=guard_sleep,
        home_problem=ground.owner.problem,
    )
    return Parts(
        supervisors=supervisors,
        gpus=gpus,
        machine=machine,
        quarantine=quarantine,
        forgotten=forgotten,
        trash=Trash(ground.registry, days=config.trash_days),
        sleep=sleep,
        trainers=trainers,
        runner=runner,
        scheduler=scheduler,
    )


def adopt(registry: Registry, runner: Runner) -> None:
    """Watches the attempts that an earlier daemon started."""
    for entry in registry.open():
        if entry.damage is None and entry.job is not None and isinstance(entry.job.state, Live):
            failpoint("daemon.adopts")
            runner.adopt(entry)


def make_routes(
    config: Config, ground: Ground, parts: Parts, degraded: Degraded, *, loop_late: Callable[[], float]
) -> list[Route]:
    """The methods of all interfaces. `loop_late`: how late the event loop has been at most, in seconds."""
    registry, trainers = ground.registry, parts.trainers
    preflight = Preflight(registry, trainers, parts.gpus, parts.trash)
    copier = Copier()
    store = PictureStore(registry.home.path)
    datasets = Datasets(DatasetFolders(registry.home.path), registry.disk)
    takeover = Takeover(registry, preflight, trainers, copier)
    submitter = Submitter(registry, preflight, trainers, copier, Sources(datasets, store))
    planner = Planner(
        registry,
        submitter=submitter,
        preflight=preflight,
        trainers=trainers,
        gpus=parts.gpus,
        speeds=Speeds(registry, trainers, ground.here.machine_id),
    )
    jobs = Jobs(
        registry,
        submitter=submitter,
        verbs=Verbs(registry, parts.runner, parts.scheduler, preflight, trainers, takeover.record),
        editor=Editor(registry, preflight, trainers, parts.scheduler, takeover),
        request_pass=parts.scheduler.request_pass,
        warn=lambda: _warnings(parts.supervisors),
        forgotten=parts.forgotten,
        trash=parts.trash,
        pruner=Pruner(registry, parts.runner, trainers),
    )
    job_views = JobViews(registry, trainers, config, planner=planner, exporter=Exporter(registry, trainers, copier))
    copies = SmallCopies(config.home)
    outputs = JobOutputs(registry, trainers, copies)
    gpus = GpuMethods(registry, parts.gpus, parts.quarantine, parts.scheduler.request_pass)
    daemon = DaemonMethods(
        config,
        registry,
        choice=parts.supervisors.choice,
        degraded=degraded,
        sleep=parts.sleep,
        machine=parts.machine,
        loop_late=loop_late,
        checks=MachineChecks(
            config,
            gpus=parts.gpus,
            supervisors=parts.supervisors,
            runner=parts.runner,
            trainers=trainers,
            degraded=degraded,
        ),
    )
    overview = Overview(
        registry,
        gpus=parts.gpus,
        show_gpus=gpus.shown,
        machine=parts.machine,
        degraded=degraded,
        disks=Disks(config.home, [Path(os.environ[name]) for name in CACHES if name in os.environ]),
    )
    queue = QueueMethods(parts.machine, registry.writer, parts.scheduler.request_pass)
    shelf = Shelf(config.home)
    presets = Presets(shelf, Composer(registry, shelf, datasets, submitter.origins), trainers)
    steering = SteeringMethods(Steering(registry, trainers, parts.runner.adapter_of))
    stored = _datasets(registry, datasets, store, trainers, copies)
    events = EventStreams(registry)
    groups = (jobs, job_views, events, outputs, steering, presets, stored, queue, gpus, daemon, overview)
    return [*service.routes(), *(route for group in groups for route in group.routes())]


def _datasets(
    registry: Registry, datasets: Datasets, store: PictureStore, trainers: Trainers, copies: SmallCopies
) -> DatasetMethods:
    importer, thumbnails = Importer(store.path), Thumbnails(registry.home.path, datasets, copies)
    return DatasetMethods(
        datasets,
        Adder(datasets, importer),
        Purger(datasets, store, importer, disk=registry.disk, deleted=copies.forget),
        thumbnails,
        trainers,
    )


def _warnings(supervisors: Supervisors) -> list[str]:
    found = checks.linger(linger(), supervisors.choice.adapter)
    return [f"{found.text} {found.remedy}"] if found.outcome is CheckOutcome.WARNING else []
