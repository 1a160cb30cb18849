# SPDX-License-Identifier: Apache-2.0
"""Attempts without systemd: for containers and pods, and for a daemon started by hand where no user manager is.

The shim leads a session of its own and is a subreaper. What belongs to an attempt is found by its mark and by descent
(members.py). A daemon that systemd runs never uses this: its processes would end with the service's cgroup.
"""

import asyncio
import signal
from collections.abc import Coroutine

from fluxgymd import lanes
from fluxgymd.attempts import gate, members, place, processes, records_on_disk
from fluxgymd.attempts.gate import LEFT, ShimGate
from fluxgymd.attempts.members import Members
from fluxgymd.attempts.port import AttemptRef, AttemptSpec, Gate, Refused
from fluxgymd.core.evidence import Evidence, Where
from fluxgymd.core.records import Placement, Process


class ProcessAdapter:
    name = "process"

    def __init__(self, *, stop_limit: float) -> None:
        """`stop_limit`: seconds from a stop's SIGTERM to its SIGKILL."""
        self._stop_limit = stop_limit
        self._tasks: set[asyncio.Task[None]] = set()

    async def problem(self) -> str | None:
        return None

    async def spawn(self, spec: AttemptSpec) -> ShimGate:
        return await gate.spawn(spec)

    async def place(self, spec: AttemptSpec, gate: Gate) -> Placement:
        if not processes.lives(gate.shim):
            raise Refused(LEFT)
        return Placement(unit=spec.unit)

    async def evidence(self, ref: AttemptRef) -> Evidence:
        return await lanes.run(ref.unit, self._look, ref)

    async def processes(self, ref: AttemptRef) -> tuple[Process, ...]:
        return (await lanes.run(ref.unit, self._members, ref)).proved

    async def gone(self, ref: AttemptRef) -> None:
        if ref.shim is not None and await lanes.run(ref.unit, self._is_here, ref):
            await gate.until_gone(ref.shim)

    async def send_signal(self, ref: AttemptRef, number: signal.Signals) -> bool:
        return await lanes.run(ref.unit, self._signal, ref, number)

    async def rouse(self, ref: AttemptRef) -> None:
        members.signal_all(await lanes.run(ref.unit, self._members, ref), signal.SIGCONT)

    async def stop(self, ref: AttemptRef) -> None:
        left = await lanes.run(ref.unit, self._members, ref)
        members.signal_all(left, signal.SIGTERM)
        members.signal_all(left, signal.SIGCONT)
        self._in_background(self._kill_at_the_limit(ref))

    async def kill(self, ref: AttemptRef) -> None:
        self._in_background(members.kill_all(lambda: self._members(ref), lane=ref.unit, shim=ref.shim))

    async def manager_stays(self) -> bool:
        return False

    async def _kill_at_the_limit(self, ref: AttemptRef) -> None:
        await asyncio.sleep(self._stop_limit)
        await members.kill_all(lambda: self._members(ref), lane=ref.unit, shim=ref.shim)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- blocking looks at files and /proc -----------------------------------------------------------------------

    def _look(self, ref: AttemptRef) -> Evidence:
        found = records_on_disk.read(ref.folder)
        where = place.where(ref.place, place.here(), lock_held=found.lock_held or not found.locks)
        return Evidence(
            where=where,
            shim_known=found.shim is not None,
            started=found.started is not None,
            exit=found.exit,
            lock_held=found.lock_held,
            populated=self._populated(ref) if where is Where.HERE else None,
        )

    def _populated(self, ref: AttemptRef) -> bool | None:
        left = self._members(ref)
        if any(process != ref.shim for process in left.proved):
            return True
        return None if left.doubtful else False

    def _members(self, ref: AttemptRef) -> Members:
        """Nobody, where the pids of the attempt mean nothing."""
        if not self._is_here(ref):
            return Members()
        return members.by_mark(mark=ref.mark, shim=ref.shim)

    @staticmethod
    def _is_here(ref: AttemptRef) -> bool:
        return place.where(ref.place, place.here(), lock_held=False) is Where.HERE

    def _signal(self, ref: AttemptRef, number: signal.Signals) -> bool:
        trainer = records_on_disk.started(ref.folder)
        return trainer is not None and self._owns(ref, trainer) and processes.send(trainer, number)

    def _owns(self, ref: AttemptRef, process: Process) -> bool:
        return process in self._members(ref).proved
