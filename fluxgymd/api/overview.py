# SPDX-License-Identifier: Apache-2.0
"""Machine.Watch: the state of this machine as one object. While nobody watches, nothing is computed; all watchers
share one computation."""

import asyncio
import logging
from collections.abc import Callable

from fluxgym import __version__
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol.machine_messages import Gpu, MachineState
from fluxgym.protocol.messages import State
from fluxgymd.api.calls import Route, Send
from fluxgymd.core.gpu import Reading
from fluxgymd.gpus.machine import Gpus
from fluxgymd.jobs.registry import Registry
from fluxgymd.run.degraded import Degraded
from fluxgymd.run.disks import Disks
from fluxgymd.store.machine import MachineState as MachineRecord

log = logging.getLogger(__name__)

PERIOD_SECONDS = 1.0
"""The shortest time between two states."""
GPU_SECONDS = 2.0
"""The time between two queries of NVML."""


class Overview:
    def __init__(
        self,
        registry: Registry,
        *,
        gpus: Gpus,
        show_gpus: Callable[[tuple[Reading, ...]], list[Gpu]],
        machine: MachineRecord,
        degraded: Degraded,
        disks: Disks,
    ) -> None:
        self._registry = registry
        self._gpus = gpus
        self._show_gpus = show_gpus
        self._machine = machine
        self._degraded = degraded
        self._disks = disks
        self._watchers = 0
        self._computing: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[tuple[Reading, ...]] | None = None
        self._state: MachineState | None = None
        self._changed = asyncio.Event()

    def routes(self) -> list[Route]:
        return [Route(mm.WATCH_MACHINE, self.watch)]

    async def watch(self, asked: mm.WatchMachineParameters, send: Send) -> mm.WatchMachineReply:
        if asked.measure:
            self._disks.want()
        self._watchers += 1
        if self._computing is None:
            self._computing = asyncio.create_task(self._compute(), name="machine-overview")
        try:
            sent = None
            while True:
                while self._state is None or self._state is sent:
                    await self._changed.wait()
                sent = self._state
                await send(mm.WatchMachineReply(state=sent))
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._computing.cancel()
                self._computing = self._state = None

    async def _compute(self) -> None:
        while True:
            try:
                self._ask_gpus()
                self._disks.refresh()
                state = self._now()
                if state != self._state:
                    self._state = state
                    self._changed.set()
                    self._changed = asyncio.Event()
            except Exception:
                log.exception("the state of this machine could not be computed")
            await asyncio.sleep(PERIOD_SECONDS)

    def _ask_gpus(self) -> None:
        """Queries NVML without waiting for it: it may hang."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._gpus.ask(max_age=GPU_SECONDS), name="machine-gpus")

    def _now(self) -> MachineState:
        counts = self._registry.counts
        return MachineState(
            gpus=self._show_gpus(self._gpus.readings),
            gpu_problem=self._gpus.consequence,
            disks=self._disks.shown(),
            unanswered=self._disks.unanswered or None,
            queue_paused=self._machine.paused,
            waiting=counts[State.QUEUED],
            running=counts[State.STARTING] + counts[State.RUNNING] + counts[State.STOPPING],
            degraded=self._degraded.reasons(),
            version=__version__,
            instance=self._registry.changes.instance,
        )
