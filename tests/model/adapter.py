# SPDX-License-Identifier: Apache-2.0
"""The port to the modelled machine, which is as unreliable as a real systemd
(docs/decisions/0010-looks-not-signals.md).

It promises what tests/attempts/test_contract.py asks of the real adapters, and no more. `gone` may return while the
attempt is running (UnitRemoved at each reload). `place` may return immediately (an early JobRemoved), may fail
although the scope was made (NoReply), and is refused while the bus is away. test_adapter.py checks this.
"""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass

from fluxgymd.attempts import place as places
from fluxgymd.attempts.port import AttemptRef, AttemptSpec, Gate, Refused
from fluxgymd.core.evidence import Evidence, TrainerProcess, Where
from fluxgymd.core.journal.records import Placement, Process
from tests.model.clock import Loop
from tests.model.world import Attempt, World

PLACING = ("well", "early", "late", "refused", "made and refused", "dies")


class ModelGate:
    """A gate whose other end belongs to this life of the daemon: it cannot be opened once that is over."""

    def __init__(self, world: World, attempt: Attempt, loop: Loop) -> None:
        self.shim: Process = attempt.shim
        self.attempt = attempt
        self._world = world
        self._loop = loop

    def open(self) -> None:
        if self._loop.dead:
            return
        if not self.attempt.shim_alive or self.attempt.gate != "closed":
            raise Refused("The supervising process exited before the trainer was started.")
        self._world.open_gate(self.attempt)

    def close(self) -> None:
        self._world.close_gate(self.attempt)


@dataclass(eq=False, kw_only=True)
class ModelAdapter:
    """The adapter of one life of the daemon."""

    world: World
    loop: Loop
    may_end: Callable[[Attempt], bool]
    """Whether this attempt may be ended; if not, signalling it is a violation."""
    name: str = "scope"

    def __post_init__(self) -> None:
        self._hints: list[asyncio.Event] = []

    async def problem(self) -> str | None:
        await self._moment()
        return None if self.world.bus else "The user's systemd does not answer."

    async def manager_stays(self) -> bool:
        return await self.problem() is None

    async def spawn(self, spec: AttemptSpec) -> Gate:
        await self._moment()
        self._must_live()
        try:
            attempt = self.world.spawn(spec)
        except OSError as error:
            raise Refused(f"The supervising process could not be started: {error.strerror}.") from None
        gate = ModelGate(self.world, attempt, self.loop)
        try:
            await self._moment()
        except BaseException:
            gate.close()
            raise
        return gate

    async def place(self, spec: AttemptSpec, gate: Gate) -> Placement:
        how = self.world.placing if self.world.bus else "refused"
        self.world.placing = "well"
        attempt = self._by_shim(gate.shim)
        if how != "early":
            await self.loop.pause(8.0 if how == "late" else 0.02)
        self._must_live()
        if how == "refused":
            raise Refused("systemd refused to create the scope.")
        if how == "dies":
            self.world.shim_dies(attempt)
        if not attempt.shim_alive:
            raise Refused("The supervising process exited before it had a scope.")
        attempt.in_unit = True
        if how == "made and refused":
            raise Refused("The scope was created, but systemd did not report its identity: NoReply.")
        return Placement(unit=spec.unit, invocation_id=spec.unit, cgroup=f"/fluxgym.slice/{spec.unit}")

    async def evidence(self, ref: AttemptRef) -> Evidence:
        await self._moment()
        self._must_live()
        attempt = self._find(ref)
        # A shared volume may not support locks, so a lock held on another machine is not seen here.
        held = attempt is not None and attempt.shim_alive and attempt.machine is self.world.here
        where = places.where(ref.place, self.world.here.place, lock_held=held)
        here = where is Where.HERE
        return Evidence(
            where=where,
            shim_known=attempt is not None,
            started=attempt is not None and attempt.started,
            exit=attempt.exit if attempt is not None else None,
            supervised=held,
            trainer=_fate(attempt) if here else TrainerProcess.UNKNOWN,
            populated=attempt is not None and attempt.runs if here else None,
        )

    async def processes(self, ref: AttemptRef) -> tuple[Process, ...]:
        self._must_live()
        attempt = self._find(ref)
        if attempt is None or places.where(ref.place, self.world.here.place, lock_held=False) is not Where.HERE:
            return ()
        alive = {attempt.shim: attempt.shim_alive, attempt.trainer: attempt.trainer_alive}
        return tuple(process for process, lives in alive.items() if lives)

    async def gone(self, ref: AttemptRef) -> None:
        hint = asyncio.Event()
        self._hints.append(hint)
        attempt = self._find(ref)
        while attempt is not None and attempt.shim_alive and not hint.is_set():
            try:
                async with asyncio.timeout(0.3):
                    await hint.wait()
            except TimeoutError:
                continue

    def unit_removed(self) -> None:
        """Ends every wait in `gone`: at a reload, systemd sends UnitRemoved for all units, even running ones."""
        for hint in self._hints:
            hint.set()

    async def send_signal(self, ref: AttemptRef, number: signal.Signals) -> bool:
        await self._moment()
        attempt = self._signalled(ref)
        if attempt is None or not attempt.trainer_alive:
            return False
        assert number is signal.SIGTERM, "no trainer of this world is asked for its stacks"
        self.world.told_to_leave(attempt)
        return True

    async def request(self, _ref: AttemptRef, _number: signal.Signals, *, launched: bool) -> bool:
        del launched  # no trainer of the model has handlers
        return False

    async def handles(self, _ref: AttemptRef, _number: signal.Signals, *, launched: bool) -> bool:
        del launched
        return False

    async def rouse(self, ref: AttemptRef) -> None:
        await self._moment()
        self._signalled(ref)  # no process of the model is ever stopped or frozen

    async def clear(self, ref: AttemptRef) -> None:
        await self._moment()
        attempt = self._find(ref)
        assert attempt is None or not attempt.started

    async def stop(self, ref: AttemptRef) -> None:
        await self._moment()
        attempt = self._signalled(ref)
        if attempt is None:
            return
        self.world.told_all_to_leave(attempt)
        limit = attempt.spec.stop_limit
        if self.world.bus:
            self.world.later(limit + 10.0, lambda: self.world.kills(attempt))
        self.loop.call_later(limit, self._kill, attempt)

    async def kill(self, ref: AttemptRef) -> None:
        await self._moment()
        attempt = self._signalled(ref)
        if attempt is not None:
            self.world.kills(attempt)

    def _kill(self, attempt: Attempt) -> None:
        if not self.loop.dead:
            self.world.kills(attempt)

    def _signalled(self, ref: AttemptRef) -> Attempt | None:
        """Returns the attempt if its processes are on this machine: others must never be signalled (promise 6)."""
        self._must_live()
        attempt = self._find(ref)
        if attempt is None or places.where(ref.place, self.world.here.place, lock_held=False) is not Where.HERE:
            return None
        if not self.may_end(attempt):
            self.world.violations.append(f"{ref.unit} was signalled, and nobody asked for it")
        return attempt

    def _find(self, ref: AttemptRef) -> Attempt | None:
        return next(
            (one for one in self.world.attempts if one.spec.folder == ref.folder and one.mark == ref.mark), None
        )

    def _by_shim(self, shim: Process) -> Attempt:
        return next(one for one in self.world.attempts if one.shim == shim)

    def _must_live(self) -> None:
        if self.loop.dead:
            raise asyncio.CancelledError

    async def _moment(self) -> None:
        await self.loop.pause(self.world.chance.choice((0.0, 0.002, 0.03)))


def _fate(attempt: Attempt | None) -> TrainerProcess:
    if attempt is None or not attempt.started:
        return TrainerProcess.UNKNOWN
    return TrainerProcess.LIVES if attempt.trainer_alive else TrainerProcess.ENDED
