# SPDX-License-Identifier: Apache-2.0
"""The daemon: the order in which its parts (wiring.py) start and stop.

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

from fluxgym.config import Config, exposed
from fluxgymd.api.hooks import HookMethods
from fluxgymd.api.server import Server
from fluxgymd.background import lanes
from fluxgymd.background.tasks import LongTasks
from fluxgymd.core.job import Live, Waiting
from fluxgymd.failpoints import failpoint
from fluxgymd.gpus.machine import Gpus
from fluxgymd.heartbeat import Heartbeat
from fluxgymd.hooks import calls
from fluxgymd.host.lateness import WatchedSelector
from fluxgymd.host.notify import Notifier
from fluxgymd.jobs.registry import Registry
from fluxgymd.run.degraded import Degraded
from fluxgymd.run.disk_room import DiskRoom
from fluxgymd.run.runner import Runner
from fluxgymd.run.scheduler import Scheduler
from fluxgymd.store.disk_trial import DiskTrial
from fluxgymd.store.owner import RENEW_SECONDS, HomeTaken, Ownership
from fluxgymd.wiring import adopt, make_parts, make_routes, take_home

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
        ground = take_home(config, stack)
        hooks = calls.Hooks(config, os.environ)
        stack.push_async_callback(hooks.close)
        ground.registry.on_event = hooks.tell
        parts = await make_parts(config, ground, stack)
        adopt(ground.registry, parts.runner)
        tasks = LongTasks()
        stack.push_async_callback(tasks.close)
        room = DiskRoom(config.home, parts.trash)
        degraded = Degraded(
            ground.registry, parts.scheduler, parts.machine, parts.quarantine, parts.forgotten, room=room, tasks=tasks
        )
        routes = [
            *make_routes(config, ground, parts, degraded, loop_late=self._selector.longest),
            *HookMethods(hooks).routes(),
        ]
        failpoint("daemon.adopted")
        server = Server(routes)
        server.start(ground.listening)
        failpoint("daemon.serves")
        stack.push_async_callback(server.close)

        self._notifier = Notifier()
        self._notifier.ready()
        failpoint("daemon.ready")
        log.info("fluxgymd is listening at %s; its home is %s", config.socket, config.home)
        heartbeat = Heartbeat(
            self._notifier,
            ground.writer,
            DiskTrial(config.home),
            parts.supervisors.ping,
            last_pass=lambda: parts.scheduler.last_pass,
            failing=tasks.failing,
            status=lambda: _status(ground.registry, degraded.reasons()),
        )
        tasks.start("gpus", lambda: _ask_gpus(parts.gpus, parts.scheduler, ground.registry))
        tasks.start("scheduler", parts.scheduler.run)
        tasks.start("owner", lambda: _renew(ground.owner, ground.registry, parts.runner, parts.scheduler))
        tasks.start("disk", room.run)
        tasks.start("trash", parts.trash.run)
        tasks.start("heartbeat", heartbeat.run)
        tasks.start("shared pictures", ground.registry.sweep_pictures)


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
