# SPDX-License-Identifier: Apache-2.0
"""Attempts without systemd: in containers and pods, and for a daemon started by hand where no user manager runs.

The shim leads its own session and is a subreaper. The processes of an attempt are found by its mark and by descent
(members.py). A daemon run by systemd never uses this adapter: the attempts would end with the service's cgroup.
"""

import asyncio
import signal
from collections.abc import Coroutine

from fluxgymd.attempts import gate, looks, members, processes
from fluxgymd.attempts.gate import LEFT, ShimGate
from fluxgymd.attempts.looks import OtherProcesses
from fluxgymd.attempts.members import Members
from fluxgymd.attempts.port import AttemptRef, AttemptSpec, Gate, Refused
from fluxgymd.background import lanes
from fluxgymd.core.evidence import Evidence
from fluxgymd.core.journal.records import Placement, Process


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
        if ref.shim is not None and await lanes.run(ref.unit, looks.is_here, ref):
            await gate.until_gone(ref.shim)

    async def send_signal(self, ref: AttemptRef, number: signal.Signals) -> bool:
        return await lanes.run(ref.unit, self._signal, ref, number)

    async def request(self, ref: AttemptRef, number: signal.Signals, *, launched: bool) -> bool:
        return await lanes.run(ref.unit, self._request, ref, number, launched=launched)

    async def handles(self, ref: AttemptRef, number: signal.Signals, *, launched: bool) -> bool:
        return await lanes.run(ref.unit, self._handles, ref, number, launched=launched)

    async def rouse(self, ref: AttemptRef) -> None:
        members.signal_all(await lanes.run(ref.unit, self._members, ref), signal.SIGCONT)

    async def stop(self, ref: AttemptRef) -> None:
        left = await lanes.run(ref.unit, self._members, ref)
        members.signal_all(left, signal.SIGTERM)
        members.signal_all(left, signal.SIGCONT)
        self._in_background(self._kill_at_the_limit(ref))

    async def kill(self, ref: AttemptRef) -> None:
        self._in_background(members.kill_all(lambda: self._members(ref), lane=ref.unit, shim=ref.shim))

    async def clear(self, ref: AttemptRef) -> None:
        """Does nothing, since nothing was created."""

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
        return looks.look(ref, owns=lambda pid: processes.carries(pid, ref.mark), left=lambda: self._left(ref))

    def _left(self, ref: AttemptRef) -> OtherProcesses:
        found = self._members(ref)
        if any(process != ref.shim for process in found.proved):
            return OtherProcesses(populated=True)
        return OtherProcesses(populated=None if found.doubtful else False, doubtful=found.doubtful)

    def _members(self, ref: AttemptRef) -> Members:
        """No processes if the attempt ran elsewhere, where its pids mean something else."""
        if not looks.is_here(ref):
            return Members()
        return members.by_mark(mark=ref.mark, shim=ref.shim)

    def _signal(self, ref: AttemptRef, number: signal.Signals) -> bool:
        return looks.signal_trainer(ref, self._members(ref), number)

    def _request(self, ref: AttemptRef, number: signal.Signals, *, launched: bool) -> bool:
        return looks.request(ref, self._members(ref), number, launched=launched)

    def _handles(self, ref: AttemptRef, number: signal.Signals, *, launched: bool) -> bool:
        return looks.handles(ref, self._members(ref), number, launched=launched)
