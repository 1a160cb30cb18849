# SPDX-License-Identifier: Apache-2.0
"""Attempts as transient scopes of the user's systemd (daemons.md 2.4 to 2.6, 5.3). The default.

Invariants. A unit is asked to stop only after its InvocationID was the recorded one; a process is signalled only
after it was proved to be in the recorded cgroup, and that cgroup to be the attempt's. Evidence comes from files and
cgroupfs, so an attempt is seen also while the bus or the manager is away.
"""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from pathlib import Path

from fluxgymd import lanes
from fluxgymd.attempts import cgroups, gate, members, place, processes, records_on_disk
from fluxgymd.attempts.gate import LEFT, ShimGate
from fluxgymd.attempts.members import Members
from fluxgymd.attempts.port import AttemptRef, AttemptSpec, Gate, Refused
from fluxgymd.bus import BusThread
from fluxgymd.bus_types import BusAway, BusError, NoSuchProcess, NoSuchUnit, Property, UnitExists
from fluxgymd.core.evidence import Evidence, Where
from fluxgymd.core.records import Placement, Process
from fluxgymd.failpoints import failpoint

SLICE = "fluxgym.slice"
RECONNECT_SECONDS = 10.0
KILL_MARGIN_SECONDS = 10.0
"""How much later than this daemon systemd kills: the daemon spares the shim, which records the end. systemd does not,
and is there for the case that no daemon runs."""


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
        return "The user's systemd is about to end." if state == "stopping" else None

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
            raise Refused(f"systemd made {spec.unit}, but the supervising process is not in it.")
        try:
            await self._bus.connected(deadline=RECONNECT_SECONDS)
            facts = await self._bus.unit_facts(spec.unit)
        except BusError as error:
            raise Refused(f"{spec.unit} was made, but systemd does not tell its identity: {error}.") from None
        failpoint("scope.known")
        if facts.control_group != group:
            raise Refused(f"systemd says {spec.unit} is {facts.control_group}, but its process is in {group}.")
        return Placement(unit=spec.unit, invocation_id=facts.invocation_id, cgroup=group)

    async def _make_scope(self, spec: AttemptSpec, gate: Gate) -> None:
        """Asks again once if the bus is lost in between: whether the scope was made is then seen in /proc."""
        properties = self._properties(spec, gate)
        for last in (False, True):
            try:
                result = await self._bus.start_transient_scope(spec.unit, properties)
                if result != "done":
                    raise Refused(f"systemd did not make {spec.unit}: its start ended with {result!r}.")
                return
            except NoSuchProcess:
                raise Refused(
                    "The supervising process left before it had its scope; the job's log says why."
                ) from None
            except (BusAway, UnitExists) as error:
                if _in_unit(await lanes.run(spec.unit, processes.group_of, gate.shim.pid), spec.unit):
                    return
                if last or isinstance(error, UnitExists):
                    raise Refused(f"{spec.unit} was not made: {error}.") from None
                with contextlib.suppress(BusAway):
                    await self._bus.connected(deadline=RECONNECT_SECONDS)
            except BusError as error:
                raise Refused(f"systemd refused to make {spec.unit}: {error}.") from None

    def _properties(self, spec: AttemptSpec, gate: Gate) -> list[Property]:
        """daemons.md 2.5 says why each."""
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
            # At the manager's end the job is stopped, and saves, before the daemon is.
            properties.append(Property("After", "as", [self._own_service]))
        return properties

    # -- watching ------------------------------------------------------------------------------------------------

    async def evidence(self, ref: AttemptRef) -> Evidence:
        evidence = await lanes.run(ref.unit, _look, ref)
        if evidence.populated and not evidence.lock_held and await self._is_another(ref):
            return Evidence(
                where=evidence.where,
                shim_known=evidence.shim_known,
                started=evidence.started,
                exit=evidence.exit,
                lock_held=False,
                populated=False,
            )
        return evidence

    async def processes(self, ref: AttemptRef) -> tuple[Process, ...]:
        return (await lanes.run(ref.unit, _members, ref)).proved

    async def gone(self, ref: AttemptRef) -> None:
        if ref.shim is not None and await lanes.run(ref.unit, _is_here, ref):
            await gate.until_gone(ref.shim)

    # -- ending --------------------------------------------------------------------------------------------------

    async def send_signal(self, ref: AttemptRef, number: signal.Signals) -> bool:
        return await lanes.run(ref.unit, _signal, ref, number)

    async def rouse(self, ref: AttemptRef) -> None:
        if await self._is_ours(ref):
            with contextlib.suppress(BusError):  # it was not frozen
                await self._bus.thaw_unit(ref.unit)
        await lanes.run(ref.unit, _rouse, ref)

    async def stop(self, ref: AttemptRef) -> None:
        if not await self._stop_unit(ref):
            await lanes.run(ref.unit, _terminate_members, ref)
        self._in_background(self._kill_at_the_limit(ref))

    async def kill(self, ref: AttemptRef) -> None:
        self._in_background(self._kill(ref))

    async def _stop_unit(self, ref: AttemptRef) -> bool:
        """False if systemd cannot be asked, or does not know the unit (any more)."""
        if not await self._is_ours(ref):
            return False
        with contextlib.suppress(BusError):  # it was not frozen
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
        """The proved members, but the shim, which records the end; then the unit, with whoever hid in it."""
        await lanes.run(ref.unit, _thaw, ref)
        await members.kill_all(lambda: _members(ref), lane=ref.unit, shim=ref.shim)
        if await self._is_ours(ref):
            with contextlib.suppress(BusError):  # it ended in this moment
                await self._bus.kill_unit(ref.unit, signal.SIGKILL)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- whose unit it is ----------------------------------------------------------------------------------------

    async def _is_ours(self, ref: AttemptRef) -> bool:
        """Unit, InvocationID and cgroup agree with what was recorded."""
        placement = ref.placement
        if placement is None or not await lanes.run(ref.unit, _is_here, ref):
            return False
        try:
            facts = await self._bus.unit_facts(ref.unit)
        except BusError:
            return False
        return (facts.invocation_id, facts.control_group) == (placement.invocation_id, placement.cgroup)

    async def _is_another(self, ref: AttemptRef) -> bool:
        """A unit of this name is there, and it is somebody else's: ours is gone, or it could not have been made."""
        assert ref.placement is not None
        try:
            facts = await self._bus.unit_facts(ref.unit)
        except NoSuchUnit:
            return False  # a new manager does not know what an old one made
        except BusError:
            return False
        return facts.invocation_id != ref.placement.invocation_id


# --- blocking looks at files, /proc and cgroupfs


def _look(ref: AttemptRef) -> Evidence:
    found = records_on_disk.read(ref.folder)
    where = place.where(ref.place, place.here(), lock_held=found.lock_held or not found.locks)
    return Evidence(
        where=where,
        shim_known=found.shim is not None,
        started=found.started is not None,
        exit=found.exit,
        lock_held=found.lock_held,
        populated=_populated(ref) if where is Where.HERE else None,
    )


def _populated(ref: AttemptRef) -> bool | None:
    """Without a placement the gate was never opened: nothing but the shim can be there, and the lock tells of it."""
    group = _group(ref)
    return False if group is None else cgroups.populated(group)


def _members(ref: AttemptRef) -> Members:
    """The processes of the recorded cgroup, if one of them proves that it is the attempt's: the shim, or a mark."""
    group = _group(ref)
    if group is None or not _is_here(ref):
        return Members()
    try:
        found = members.in_group(cgroups.directory(group), group)
    except OSError:
        return Members()
    for process in found.proved:
        if process == ref.shim or processes.about(process, lambda pid: processes.carries(pid, ref.mark)):
            return found
    return Members(doubtful=found.proved)


def _signal(ref: AttemptRef, number: signal.Signals) -> bool:
    trainer = records_on_disk.started(ref.folder)
    return trainer is not None and trainer in _members(ref).proved and processes.send(trainer, number)


def _rouse(ref: AttemptRef) -> None:
    _thaw(ref)
    members.signal_all(_members(ref), signal.SIGCONT)


def _terminate_members(ref: AttemptRef) -> None:
    found = _members(ref)
    members.signal_all(found, signal.SIGTERM)
    _thaw(ref)


def _thaw(ref: AttemptRef) -> None:
    """By hand: the manager may be away, or may have answered that it thawed nothing."""
    group = _group(ref)
    if group is not None and _members(ref).proved:
        cgroups.thaw(group)


def _group(ref: AttemptRef) -> str | None:
    return None if ref.placement is None else ref.placement.cgroup


def _is_here(ref: AttemptRef) -> bool:
    return place.where(ref.place, place.here(), lock_held=False) is Where.HERE


def _in_unit(group: str | None, unit: str) -> bool:
    return group is not None and group.rpartition("/")[2] == unit
