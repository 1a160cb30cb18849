# SPDX-License-Identifier: Apache-2.0
"""Attempts as transient scopes of the user's systemd. This is the default adapter.

Invariants. A unit is stopped only if its InvocationID matches the recorded one, or if the attempt never started and
no process is in the unit. A process is signalled only if it is proved to be in the recorded cgroup, and that cgroup
to be the attempt's. Evidence comes from files and cgroupfs, so an attempt can be seen even while the bus or the
manager is away. docs/decisions/attempts.md explains the design.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path

from fluxgymd.attempts import cgroups, gate, looks, members, processes
from fluxgymd.attempts.gate import LEFT, ShimGate
from fluxgymd.attempts.looks import OtherProcesses
from fluxgymd.attempts.members import Members
from fluxgymd.attempts.port import AttemptRef, AttemptSpec, Gate, Refused
from fluxgymd.background import lanes
from fluxgymd.core.evidence import Evidence
from fluxgymd.core.journal.records import Placement, Process
from fluxgymd.core.stop import KILL_MARGIN_SECONDS
from fluxgymd.failpoints import failpoint
from fluxgymd.host.bus import BusThread
from fluxgymd.host.bus_types import BusAway, BusError, NoSuchProcess, NoSuchUnit, Property, UnitExists

log = logging.getLogger(__name__)

SLICE = "fluxgym.slice"
RECONNECT_SECONDS = 10.0
"""How much later systemd sends SIGKILL than the daemon does. The daemon spares the shim, which records the end;
systemd doesn't, so its limit is only for the case that no daemon runs."""


class ScopeAdapter:
    name = "scope"

    def __init__(self, bus: BusThread, *, stop_limit: float) -> None:
        """`bus` is started and closed by its owner. `stop_limit`: seconds from a stop's SIGTERM to its SIGKILL."""
        self._bus = bus
        self._stop_limit = stop_limit
        self._own_service = cgroups.own_service(Path("/proc/self/cgroup").read_text())
        self._tasks: set[asyncio.Task[None]] = set()

    async def problem(self) -> str | None:
        try:
            state = await self._bus.manager_state()
        except BusError as error:
            return f"The user's systemd does not answer: {error}."
        return "The user's systemd is shutting down." if state == "stopping" else None

    async def manager_stays(self) -> bool:
        return await self.problem() is None

    # -- starting ------------------------------------------------------------------------------------------------

    async def spawn(self, spec: AttemptSpec) -> ShimGate:
        return await gate.spawn(spec)

    async def place(self, spec: AttemptSpec, gate: Gate) -> Placement:
        failpoint("scope.asked")
        await self._make_scope(spec, gate)
        failpoint("scope.made")
        group = await lanes.run(spec.unit, processes.group_of, gate.shim.pid)
        if not processes.lives(gate.shim):
            raise Refused(LEFT)
        if group is None or not _in_unit(group, spec.unit):
            raise Refused(f"systemd created {spec.unit}, but the supervising process is not in it.")
        try:
            await self._bus.connected(deadline=RECONNECT_SECONDS)
            facts = await self._bus.unit_facts(spec.unit)
        except BusError as error:
            raise Refused(f"{spec.unit} was created, but systemd did not report its identity: {error}.") from None
        failpoint("scope.known")
        if facts.control_group != group:
            raise Refused(f"systemd says {spec.unit} is {facts.control_group}, but its process is in {group}.")
        return Placement(unit=spec.unit, invocation_id=facts.invocation_id, cgroup=group)

    async def _make_scope(self, spec: AttemptSpec, gate: Gate) -> None:
        """Creates the scope; Refused if that fails. If the bus is lost in between, checks in /proc whether the scope
        was created, and if it wasn't, asks once more."""
        properties = self._properties(spec, gate)
        for last in (False, True):
            try:
                result = await self._bus.start_transient_scope(spec.unit, properties)
                if result != "done":
                    raise Refused(f"systemd did not create {spec.unit}: its start ended with {result!r}.")
                return
            except NoSuchProcess:
                raise Refused(
                    "The supervising process exited before it had a scope; its output is in the job's log."
                ) from None
            except (BusAway, UnitExists) as error:
                if _in_unit(await lanes.run(spec.unit, processes.group_of, gate.shim.pid), spec.unit):
                    return
                if last or isinstance(error, UnitExists):
                    raise Refused(f"{spec.unit} was not created: {error}.") from None
                with contextlib.suppress(BusAway):
                    await self._bus.connected(deadline=RECONNECT_SECONDS)
            except BusError as error:
                raise Refused(f"systemd refused to create {spec.unit}: {error}.") from None

    def _properties(self, spec: AttemptSpec, gate: Gate) -> list[Property]:
        """The properties of the scope (org.freedesktop.systemd1(5)).

        KillMode: a stop ends the complete cgroup. CollectMode: a failed scope is unloaded like any other.
        OOMPolicy: if the kernel kills one process for memory, systemd leaves the others alone, since the shim still
        has to record the end.
        """
        timeout = int((spec.stop_limit + KILL_MARGIN_SECONDS) * 1_000_000)
        properties = [
            Property("PIDs", "au", [gate.shim.pid]),
            Property("Description", "s", f"FluxGym job {spec.job}"),
            Property("Slice", "s", SLICE),
            Property("CollectMode", "s", "inactive-or-failed"),
            Property("KillMode", "s", "control-group"),
            Property("TimeoutStopUSec", "t", timeout),
            Property("OOMPolicy", "s", "continue"),
        ]
        if self._own_service is not None:
            # When the manager exits, it stops the job, which then saves a checkpoint, before it stops the daemon.
            properties.append(Property("After", "as", [self._own_service]))
        return properties

    # -- watching ------------------------------------------------------------------------------------------------

    async def evidence(self, ref: AttemptRef) -> Evidence:
        evidence = await lanes.run(ref.unit, _look, ref)
        if not evidence.populated or evidence.supervised:
            return evidence
        assert ref.placement is not None
        try:
            facts = await self._bus.unit_facts(ref.unit)
        except NoSuchUnit:  # a new manager doesn't know the units of an old one: a member has to prove whose it is
            found = await lanes.run(ref.unit, _members, ref)
            doubtful = tuple(process.pid for process in found.doubtful)
            return evidence if found.proved else replace(evidence, populated=None, doubtful=doubtful)
        except BusError:
            return evidence
        # With another InvocationID it is a different unit of the same name. It could be created only because the
        # attempt's own unit is gone.
        return evidence if facts.invocation_id == ref.placement.invocation_id else replace(evidence, populated=False)

    async def processes(self, ref: AttemptRef) -> tuple[Process, ...]:
        return (await lanes.run(ref.unit, _members, ref)).proved

    async def gone(self, ref: AttemptRef) -> None:
        if ref.shim is not None and await lanes.run(ref.unit, looks.is_here, ref):
            await gate.until_gone(ref.shim)

    # -- ending --------------------------------------------------------------------------------------------------

    async def send_signal(self, ref: AttemptRef, number: signal.Signals) -> bool:
        return await lanes.run(ref.unit, _signal, ref, number)

    async def request(self, ref: AttemptRef, number: signal.Signals, *, launched: bool) -> bool:
        return await lanes.run(ref.unit, _request, ref, number, launched=launched)

    async def handles(self, ref: AttemptRef, number: signal.Signals, *, launched: bool) -> bool:
        return await lanes.run(ref.unit, _handles, ref, number, launched=launched)

    async def rouse(self, ref: AttemptRef) -> None:
        if await self._is_ours(ref):
            with contextlib.suppress(BusError):  # the unit was not frozen
                await self._bus.thaw_unit(ref.unit)
        await lanes.run(ref.unit, _rouse, ref)

    async def stop(self, ref: AttemptRef) -> None:
        if not await self._stop_unit(ref):
            await lanes.run(ref.unit, _terminate_members, ref)
        self._in_background(self._kill_at_the_limit(ref))

    async def kill(self, ref: AttemptRef) -> None:
        self._in_background(self._kill(ref))

    async def clear(self, ref: AttemptRef) -> None:
        """Stops the scope if no process is in it.

        Normally a scope disappears with its last process. But systemd 252 keeps one forever if its only process had
        already exited, without being reaped, when the scope was created. That happens to a shim if its daemon is
        killed at that moment.
        """
        try:
            await self._bus.connected(deadline=RECONNECT_SECONDS)
            facts = await self._bus.unit_facts(ref.unit)
            if await lanes.run(ref.unit, cgroups.populated, facts.control_group) is False:
                await self._bus.stop_unit(ref.unit)
        except NoSuchUnit:
            pass  # as a rule
        except BusError as error:
            log.warning("%s may remain without a process: %s", ref.unit, error)

    async def _stop_unit(self, ref: AttemptRef) -> bool:
        """Whether systemd accepted the stop. False if it can't be reached, or doesn't know the unit (any more)."""
        if not await self._is_ours(ref):
            return False
        with contextlib.suppress(BusError):  # the unit was not frozen
            await self._bus.thaw_unit(ref.unit)
        try:
            await self._bus.stop_unit(ref.unit)
        except BusError:
            return False
        return True

    async def _kill_at_the_limit(self, ref: AttemptRef) -> None:
        await asyncio.sleep(self._stop_limit)
        await self._kill(ref)

    async def _kill(self, ref: AttemptRef) -> None:
        """Kills the proved members except the shim, which records the end, and then all that is left in the unit."""
        await lanes.run(ref.unit, _thaw, ref)
        await members.kill_all(lambda: _members(ref), lane=ref.unit, shim=ref.shim)
        if await self._is_ours(ref):
            with contextlib.suppress(BusError):  # the unit has just ended
                await self._bus.kill_unit(ref.unit, signal.SIGKILL)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- whose unit it is ----------------------------------------------------------------------------------------

    async def _is_ours(self, ref: AttemptRef) -> bool:
        """Whether the unit's InvocationID and cgroup match what was recorded for the attempt."""
        placement = ref.placement
        if placement is None or not await lanes.run(ref.unit, looks.is_here, ref):
            return False
        try:
            facts = await self._bus.unit_facts(ref.unit)
        except BusError:
            return False
        return (facts.invocation_id, facts.control_group) == (placement.invocation_id, placement.cgroup)


# --- blocking looks at files, /proc and cgroupfs


def _look(ref: AttemptRef) -> Evidence:
    group = _group(ref)

    def owns(pid: int) -> bool:
        return group is not None and members.belongs(pid, group)

    return looks.look(ref, owns=owns, left=lambda: _left(ref))


def _left(ref: AttemptRef) -> OtherProcesses:
    """Whether processes are left in the cgroup. Without a placement the gate was never opened, so only the shim can
    exist, and its lock shows that."""
    group = _group(ref)
    return OtherProcesses(populated=False if group is None else cgroups.populated(group))


def _members(ref: AttemptRef) -> Members:
    """The processes of the recorded cgroup: proved if one of them shows that the cgroup is the attempt's, because it
    is the recorded shim or trainer or carries the mark, and doubtful otherwise."""
    group = _group(ref)
    if group is None or not looks.is_here(ref):
        return Members()
    try:
        found = members.in_group(cgroups.directory(group), group)
    except OSError:
        return Members()
    recorded = (ref.shim, ref.trainer)
    for process in found.proved:
        if process in recorded or processes.about(process, lambda pid: processes.carries(pid, ref.mark)):
            return found
    return Members(doubtful=found.proved)


def _signal(ref: AttemptRef, number: signal.Signals) -> bool:
    return looks.signal_trainer(ref, _members(ref), number)


def _request(ref: AttemptRef, number: signal.Signals, *, launched: bool) -> bool:
    return looks.request(ref, _members(ref), number, launched=launched)


def _handles(ref: AttemptRef, number: signal.Signals, *, launched: bool) -> bool:
    return looks.handles(ref, _members(ref), number, launched=launched)


def _rouse(ref: AttemptRef) -> None:
    _thaw(ref)
    members.signal_all(_members(ref), signal.SIGCONT)


def _terminate_members(ref: AttemptRef) -> None:
    found = _members(ref)
    members.signal_all(found, signal.SIGTERM)
    _thaw(ref)


def _thaw(ref: AttemptRef) -> None:
    """Thaws the cgroup without systemd, which may be unavailable or may not have thawed it."""
    group = _group(ref)
    if group is not None and _members(ref).proved:
        cgroups.thaw(group)


def _group(ref: AttemptRef) -> str | None:
    return None if ref.placement is None else ref.placement.cgroup


def _in_unit(group: str | None, unit: str) -> bool:
    return group is not None and group.rpartition("/")[2] == unit
