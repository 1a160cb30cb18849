# SPDX-License-Identifier: Apache-2.0
"""org.fluxgym.Machine: the GPUs, the queue, and the daemon itself."""

import os
import time
from collections.abc import Awaitable, Callable

from fluxgym import __version__
from fluxgym.config import Config
from fluxgym.errors import NotPutAside, StorageFailed
from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.machine_messages import Gpu, Supervisor
from fluxgym.quoting import short
from fluxgym.setting_list import listed
from fluxgymd.api.calls import Route, Send
from fluxgymd.attempts.choice import Choice
from fluxgymd.core.damage import EVERYTHING
from fluxgymd.core.gpu import Reading
from fluxgymd.gpus.machine import Gpus
from fluxgymd.gpus.quarantine import Quarantine
from fluxgymd.host.linger import linger
from fluxgymd.host.sleep import SleepGuard
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.check_machine import MachineChecks
from fluxgymd.run.degraded import Degraded
from fluxgymd.store.machine import MachineState
from fluxgymd.store.writer import Writer


class GpuMethods:
    """The methods about the GPUs."""

    def __init__(
        self, registry: Registry, gpus: Gpus, quarantine: Quarantine, request_pass: Callable[[], None]
    ) -> None:
        self._registry = registry
        self._gpus = gpus
        self._quarantine = quarantine
        self._request_pass = request_pass

    def routes(self) -> list[Route]:
        return [
            Route(mm.GPUS, self.gpus),
            Route(mm.GPU_HISTORY, self.history),
            Route(mm.CLEAR_QUARANTINE, self.clear_quarantine),
        ]

    async def gpus(self, _: m.Nothing, __: Send) -> mm.GpusReply:
        return mm.GpusReply(gpus=self.shown(await self._gpus.ask()), problem=self._gpus.consequence)

    async def history(self, asked: mm.GpuHistoryParameters, _: Send) -> mm.GpuHistoryReply:
        return mm.GpuHistoryReply(history=self._gpus.history.series(uuid=asked.gpu, after=asked.after or 0.0))

    def shown(self, readings: tuple[Reading, ...]) -> list[Gpu]:
        """The GPUs with these readings."""
        aside = self._quarantine.reasons
        holders = self._holders([reading.uuid for reading in readings])
        return [
            Gpu(
                index=reading.index,
                uuid=reading.uuid,
                name=reading.name,
                memory_total=reading.memory_total,
                memory_used=reading.memory_used,
                utilization=reading.utilization,
                temperature=reading.temperature,
                power_draw=reading.power_draw,
                power_limit=reading.power_limit,
                job=holders.get(reading.uuid),
                put_aside=aside.get(reading.uuid),
            )
            for reading in readings
        ]

    def _holders(self, gpus: list[str]) -> dict[str, str]:
        """The job that holds each GPU, by UUID. A job that is known to hold it precedes one that may hold any."""
        leases = [(entry.name, entry.lease) for entry in self._registry.open()]
        doubtful = next((name for name, lease in leases if lease is EVERYTHING), None)
        holders = dict.fromkeys(gpus, doubtful) if doubtful is not None else {}
        for name, lease in leases:
            if lease is not None and lease is not EVERYTHING:
                holders.update(dict.fromkeys(lease, name))
        return holders

    async def clear_quarantine(self, asked: mm.GpuName, _: Send) -> m.Nothing:
        aside = self._quarantine.reasons
        by_name = {str(index): uuid for index, uuid in enumerate(self._gpus.uuids)}
        uuid = by_name.get(asked.gpu, asked.gpu)
        if uuid not in aside:
            there = f"the quarantined ones are {', '.join(aside)}" if aside else "no GPU is"
            raise NotPutAside(f"GPU {short(asked.gpu)} is not quarantined; {there}.", gpu=short(asked.gpu))
        await _written(lambda: self._quarantine.clear(uuid), self._request_pass)
        return m.Nothing()


class DaemonMethods:
    """The methods about the daemon itself."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        *,
        choice: Choice,
        degraded: Degraded,
        sleep: SleepGuard,
        machine: MachineState,
        loop_late: Callable[[], float],
        checks: MachineChecks,
    ) -> None:
        self._config = config
        self._registry = registry
        self._choice = choice
        self._degraded = degraded
        self._sleep = sleep
        self._machine = machine
        self._loop_late = loop_late
        self._checks = checks
        self._started_at = time.time()

    def routes(self) -> list[Route]:
        return [Route(mm.INFO, self.info), Route(mm.SETTINGS, self.settings), Route(mm.CHECK_MACHINE, self.check)]

    async def check(self, _: m.Nothing, send: Send) -> mm.CheckMachineReply:
        async for result in self._checks.results():
            await send(mm.CheckMachineReply(check=result))
        return mm.CheckMachineReply()

    async def settings(self, _: m.Nothing, __: Send) -> mm.SettingsReply:
        return mm.SettingsReply(settings=listed(self._config, os.environ))

    async def info(self, _: m.Nothing, __: Send) -> mm.InfoReply:
        return mm.InfoReply(
            version=__version__,
            instance=self._registry.changes.instance,
            pid=os.getpid(),
            started_at=self._started_at,
            home=str(self._config.home),
            socket=str(self._config.socket),
            supervisor=Supervisor(self._choice.adapter),
            supervisor_reason=self._choice.reason,
            linger=linger(),
            sleep_inhibitor=self._sleep.state,
            sleep_inhibitor_reason=self._sleep.reason,
            queue_paused=self._machine.paused,
            loop_late=self._loop_late(),
            degraded=self._degraded.reasons(),
            jobs={state.value: count for state, count in self._registry.counts.items() if count},
        )


class QueueMethods:
    """The methods that pause the queue and let it continue."""

    def __init__(self, machine: MachineState, writer: Writer, request_pass: Callable[[], None]) -> None:
        self._machine = machine
        self._writer = writer
        self._request_pass = request_pass

    def routes(self) -> list[Route]:
        return [Route(mm.PAUSE, self.pause), Route(mm.CONTINUE, self.unpause)]

    async def pause(self, _: m.Nothing, __: Send) -> m.Nothing:
        return await self._pause(paused=True)

    async def unpause(self, _: m.Nothing, __: Send) -> m.Nothing:
        return await self._pause(paused=False)

    async def _pause(self, *, paused: bool) -> m.Nothing:
        await _written(lambda: self._writer.run(lambda: self._machine.pause(paused=paused)), self._request_pass)
        return m.Nothing()


async def _written(work: Callable[[], Awaitable[None]], request_pass: Callable[[], None]) -> None:
    """Changes the machine's record, and requests a pass of the scheduler. StorageFailed if that fails."""
    try:
        await work()
    except OSError as error:  # not the home's disk, so not a problem of the home
        where = f" {error.filename}" if error.filename else ""
        raise StorageFailed(f"The state of this machine{where} cannot be written: {error.strerror}.") from error
    request_pass()
