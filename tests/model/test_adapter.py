# SPDX-License-Identifier: Apache-2.0
"""The modelled adapter does what the contract suite asks of the real ones (tests/attempts/test_contract.py). A model
that promised more than systemd does would prove nothing."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fluxgymd.attempts.port import AttemptRef, AttemptSpec, Refused
from fluxgymd.core.evidence import (
    Conclusion,
    Exited,
    LeftOver,
    LostSight,
    NeverStarted,
    Rebooted,
    Runs,
    RunsAlone,
    conclude,
)
from fluxgymd.core.journal.records import Placement
from tests.model.adapter import ModelAdapter, ModelGate
from tests.model.clock import Loop
from tests.model.world import Attempt, World

LIMIT = 10.0


class Bench:
    """One attempt on the modelled machine, with the daemon that started it."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, Random(1))
        self.folder = folder / "attempts" / "001"
        self.folder.mkdir(parents=True)
        self.begin()

    def begin(self) -> None:
        """Starts a daemon."""
        self.loop = Loop(self.world.clock, Random(1), self.world.moves)
        self.adapter = ModelAdapter(world=self.world, loop=self.loop, may_end=lambda _: True)

    def kill_daemon(self) -> None:
        self.loop.die()
        for attempt in self.world.attempts:
            self.world.close_gate(attempt)
        self.begin()

    def start(self, *, until: str = "open") -> Attempt:
        """Starts an attempt up to `until`: spawned, placed or open."""
        environment = {"FLUXGYM_ATTEMPT_ID": "m" * 32, "CUDA_VISIBLE_DEVICES": ""}
        spec = AttemptSpec(
            job="my-lora",
            unit="u.scope",
            folder=self.folder,
            log=self.folder / "log",
            argv=("/bin/true",),
            environment=environment,
            cwd=self.folder,
            stop_limit=LIMIT,
        )
        gate = self.loop.run_to_end(self.adapter.spawn(spec))
        assert isinstance(gate, ModelGate)
        if until != "spawned":
            self.loop.run_to_end(self.adapter.place(spec, gate))
        if until == "open":
            gate.open()
            self.world.pass_by(3.0)
            assert gate.attempt.trainer_alive
        return gate.attempt

    def ref(self, attempt: Attempt) -> AttemptRef:
        placement = Placement(unit="u.scope") if attempt.in_unit else None
        return AttemptRef(
            unit="u.scope",
            folder=self.folder,
            mark=attempt.mark,
            place=attempt.place,
            shim=attempt.shim,
            placement=placement,
        )

    def look(self, attempt: Attempt) -> Conclusion:
        return conclude(self.loop.run_to_end(self.adapter.evidence(self.ref(attempt))))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.loop.die()


@pytest.mark.parametrize(("code", "number"), [(0, None), (42, None), (137, None), (None, 9), (None, 11)])
def test_promise_2_the_end_is_recorded(bench: Bench, code: int | None, number: int | None) -> None:
    attempt = bench.start()
    assert bench.look(attempt) == Runs()
    bench.world.exits(attempt, code=code, signal_number=number)
    bench.world.pass_by(3.0)
    seen = bench.look(attempt)
    assert isinstance(seen, Exited)
    assert seen.exit is not None
    assert (seen.exit.code, seen.exit.signal, seen.exit.term_seen) == (code, number, False)


def test_promise_6_only_living_processes_of_the_attempt_are_listed(bench: Bench) -> None:
    attempt = bench.start()
    assert bench.loop.run_to_end(bench.adapter.processes(bench.ref(attempt))) == (attempt.shim, attempt.trainer)
    bench.world.exits(attempt, code=0)
    bench.world.pass_by(3.0)
    assert bench.loop.run_to_end(bench.adapter.processes(bench.ref(attempt))) == ()


def test_a_trainer_that_is_asked_to_stop_saves_and_exits(bench: Bench) -> None:
    attempt = bench.start()
    assert bench.loop.run_to_end(bench.adapter.send_signal(bench.ref(attempt), signal.SIGTERM))
    bench.world.pass_by(3.0)
    seen = bench.look(attempt)
    assert isinstance(seen, Exited)
    assert seen.exit is not None
    assert (seen.exit.code, seen.exit.term_seen) == (143, False)
    assert not bench.loop.run_to_end(bench.adapter.send_signal(bench.ref(attempt), signal.SIGTERM))


def test_a_trainer_that_ignores_the_stop_is_killed_at_the_limit(bench: Bench) -> None:
    attempt = bench.start()
    attempt.deaf = True
    bench.loop.run_to_end(bench.adapter.stop(bench.ref(attempt)))
    bench.loop.run_for(LIMIT - 1.0)
    assert bench.look(attempt) == Runs()
    bench.loop.run_for(5.0)
    seen = bench.look(attempt)
    assert isinstance(seen, Exited)
    assert seen.exit is not None
    assert (seen.exit.signal, seen.exit.term_seen) == (signal.SIGKILL, True)


def test_promise_4_leftover_processes_are_found_and_end_with_a_stop(bench: Bench) -> None:
    attempt = bench.start()
    attempt.left_behind = True
    bench.world.exits(attempt, code=3)
    bench.world.pass_by(3.0)
    assert isinstance(bench.look(attempt), LeftOver)
    bench.loop.run_to_end(bench.adapter.stop(bench.ref(attempt)))
    assert isinstance(bench.look(attempt), Exited)


@pytest.mark.parametrize("until", ["spawned", "placed"])
def test_a_daemon_that_dies_before_it_opens_the_gate_has_started_nothing(bench: Bench, until: str) -> None:
    attempt = bench.start(until=until)
    assert bench.look(attempt) == Runs()
    bench.kill_daemon()
    bench.world.pass_by(3.0)
    assert bench.look(attempt) == NeverStarted()
    assert not attempt.started


def test_promise_1_an_attempt_does_not_notice_the_daemon_s_death(bench: Bench) -> None:
    attempt = bench.start()
    bench.kill_daemon()
    assert bench.look(attempt) == Runs()
    bench.kill_daemon()
    bench.world.exits(attempt, code=42)
    bench.world.pass_by(3.0)
    seen = bench.look(attempt)
    assert isinstance(seen, Exited)
    assert seen.exit is not None
    assert seen.exit.code == 42


def test_without_its_shim_a_trainer_runs_alone_until_it_ends(bench: Bench) -> None:
    attempt = bench.start()
    bench.world.shim_dies(attempt)
    assert bench.look(attempt) == RunsAlone()
    bench.world.exits(attempt, code=42)
    bench.world.pass_by(3.0)
    assert bench.look(attempt) == Exited(None)


def test_promise_6_an_attempt_of_another_machine_or_boot_is_never_signalled(bench: Bench) -> None:
    attempt = bench.start()
    bench.world.here = bench.world.machines[1]
    assert isinstance(bench.look(attempt), LostSight)
    assert not bench.loop.run_to_end(bench.adapter.send_signal(bench.ref(attempt), signal.SIGTERM))
    for act in (bench.adapter.stop, bench.adapter.kill):
        bench.loop.run_to_end(act(bench.ref(attempt)))
    bench.loop.run_for(3 * LIMIT)
    assert attempt.trainer_alive
    bench.world.here = bench.world.machines[0]
    bench.world.reboots(bench.world.here, orderly=False, container=False)
    assert bench.look(attempt) == Rebooted()


def test_a_reload_briefly_reports_running_units_as_gone(bench: Bench) -> None:
    attempt = bench.start()
    hint = bench.loop.create_task(bench.adapter.gone(bench.ref(attempt)))
    bench.loop.run_for(5.0)
    assert not hint.done()
    bench.adapter.unit_removed()
    bench.loop.run_for(5.0)
    assert hint.done()
    assert bench.look(attempt) == Runs()


@pytest.mark.parametrize("how", ["refused", "made and refused", "dies"])
def test_a_scope_that_is_not_created_is_refused_and_nothing_ran(bench: Bench, how: str) -> None:
    bench.world.placing = how
    with pytest.raises(Refused):
        bench.start(until="placed")
    bench.kill_daemon()
    bench.world.pass_by(3.0)
    assert bench.look(bench.world.attempts[0]) == NeverStarted()


def test_the_clock_moves_only_when_nothing_is_left_to_do(tmp_path: Path) -> None:
    world = World(tmp_path, Random(1))
    loop = Loop(world.clock, Random(1), world.moves)
    seen = []

    async def work() -> None:
        for _ in range(100):
            await asyncio.to_thread(lambda: None)
        seen.append(world.clock.now)
        async with asyncio.timeout(500):
            await loop.pause(400)
        seen.append(world.clock.now)

    began = world.clock.now
    loop.create_task(work())
    loop.run_for(1000)
    assert seen[0] - began < 100 * 0.2
    assert seen[1] - seen[0] == pytest.approx(400)
    assert world.clock.now - began == pytest.approx(1000)
    loop.die()
