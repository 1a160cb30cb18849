# SPDX-License-Identifier: Apache-2.0
"""No sequence of calls and mishaps breaks a promise: the daemon's real parts on a modelled machine.

Hypothesis draws the sequences, and reduces a failing one to the steps that matter. The normal suite runs the same 800
sequences each time; FLUXGYM_MODEL_EXAMPLES=5000 runs that many new ones.
"""

import gc
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fluxgym.protocol.messages import Context, Kind, RestartPolicy, WatchdogMode
from fluxgym.protocol.methods import AnnotateParameters
from fluxgymd.core.job import Completed, Final, Live, Waiting
from fluxgymd.requests.annotate import annotate
from fluxgymd.store.machine import MachineState
from tests.model import life as lives
from tests.model.adapter import PLACING
from tests.model.life import Life
from tests.model.promises import Promises
from tests.model.world import Attempt, World

EXAMPLES = 800
STEPS = 50
LOOKED_FOR = int(os.environ.get("FLUXGYM_MODEL_EXAMPLES", "0"))
SETTLE_SECONDS = 4000.0
"""Longer than all pauses between attempts together."""

names = st.sampled_from(("one", "two", "three", "four"))
turns = st.sampled_from([0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 150])
"""Turns of the event loop that a call gets before something else happens. 150 are enough to start an attempt."""
seconds = st.sampled_from([0.1, 1.0, 5.0, 30.0])
"""How long a disturbance lasts."""
picks = st.integers(0, 7)
policies = st.sampled_from([policy for policy in RestartPolicy if policy is not RestartPolicy.UNKNOWN])
modes = st.sampled_from([mode for mode in WatchdogMode if mode is not WatchdogMode.UNKNOWN])


def while_jobs(machine: "Queue") -> bool:
    return bool(machine.life.jobs())


def while_removed(machine: "Queue") -> bool:
    return bool(machine.life.registry.home.trash.entries())


def while_training(machine: "Queue") -> bool:
    return any(attempt.trainer_alive for attempt in machine.world.attempts)


def while_shims_live(machine: "Queue") -> bool:
    return any(attempt.shim_alive for attempt in machine.world.attempts)


class Queue(RuleBasedStateMachine):
    """A daemon, its users, and what happens to them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fg-model-", dir=fast_folder()))
        self.patch = pytest.MonkeyPatch()
        (temporary := self.folder / "tmp").mkdir()
        self.patch.setenv("TMPDIR", str(temporary))  # where attempts put their temporary files
        self.up = False
        self.world = World(self.folder / "home", Random(0))
        self.life = Life(self.world, self.folder)
        self.promises = Promises(self.world, self.life)
        self.log = lives.FaultLog(self.life.faults)
        logging.getLogger("fluxgymd").addHandler(self.log)
        lives.install(self.world, self.patch)

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.world.chance.seed(seed)
        self.start()

    # -- users ---------------------------------------------------------------------------------------------------

    @rule(name=names, after=st.none() | names, restart=policies, held=st.booleans(), turns=turns)
    def submit_program(self, name: str, after: str | None, restart: RestartPolicy, held: bool, turns: int) -> None:
        waits_for = [after] if after is not None and after != name and self.life.registry.has(after) else []
        context = Context(
            name=name, kind=Kind.PROGRAM, program=["/bin/true"], restart=restart, after=waits_for, held=held
        )
        self._call("submit", name, self.life.submit(context), turns)

    @rule(
        name=names,
        gpus=st.sampled_from([[], [], ["0"], ["GPU-a0", "GPU-b0"], ["1"]]),
        count=st.sampled_from([1, 1, 2]),
        restart=policies,
        priority=st.integers(-1, 1),
        turns=turns,
    )
    def submit_training(
        self, name: str, gpus: list[str], count: int, restart: RestartPolicy, priority: int, turns: int
    ) -> None:
        context = Context(
            name=name,
            dataset="/pictures",
            gpus=gpus,
            gpu_count=1 if gpus else count,
            restart=restart,
            priority=priority,
            trainer_options={"network_train_unet_only": []},
        )
        self._call("submit", name, self.life.submit_training(context), turns)

    @precondition(while_jobs)
    @rule(pick=picks, patient=st.booleans(), turns=turns)
    def stop(self, pick: int, patient: bool, turns: int) -> None:
        name = self._name(pick)
        self._call("stop", name, self.life.verbs.stop(name, after_checkpoint=patient), turns)

    @precondition(while_jobs)
    @rule(pick=picks, turns=turns)
    def resume(self, pick: int, turns: int) -> None:
        name = self._name(pick)
        # The model's user knows the truth, and says that processes are gone only if they are.
        gone = not any(attempt.job == name and attempt.alive for attempt in self.world.attempts)
        self._call("resume", name, self.life.verbs.resume(name, assume_gone=gone), turns)

    @precondition(while_jobs)
    @rule(pick=picks, turns=turns)
    def hold(self, pick: int, turns: int) -> None:
        name = self._name(pick)
        self._call("hold", name, self.life.verbs.hold(name), turns)

    @precondition(while_jobs)
    @rule(pick=picks, turns=turns)
    def release(self, pick: int, turns: int) -> None:
        name = self._name(pick)
        self._call("release", name, self.life.verbs.release(name), turns)

    @precondition(while_jobs)
    @rule(pick=picks, before=st.none() | picks, turns=turns)
    def move(self, pick: int, before: int | None, turns: int) -> None:
        name, other = self._name(pick), None if before is None else self._name(before)
        self._call("move", name, self.life.verbs.move(name, other), turns)

    @precondition(while_jobs)
    @rule(pick=picks, priority=st.integers(-1, 1), restart=policies, turns=turns)
    def edit(self, pick: int, priority: int, restart: RestartPolicy, turns: int) -> None:
        name = self._name(pick)
        changes = Context(name=name, priority=priority, restart=restart)
        self._call("edit", name, self.life.editor.edit(changes), turns)

    @precondition(while_jobs)
    @rule(pick=picks, keep=st.booleans(), turns=turns)
    def remove(self, pick: int, keep: bool, turns: int) -> None:
        ended = sorted(name for name, job in self.life.jobs().items() if isinstance(job.state, Final))
        name = ended[pick % len(ended)] if ended else self._name(pick)  # others are refused
        self._call("remove", name, self.life.verbs.remove(name, keep=keep), turns)

    @precondition(while_removed)
    @rule(pick=picks, turns=turns)
    def restore(self, pick: int, turns: int) -> None:
        removed = self.life.registry.home.trash.entries()
        name = removed[pick % len(removed)].name
        self._call("restore", name, self.life.restore(name), turns)

    @precondition(while_jobs)
    @rule(pick=picks, note=st.sampled_from(["", "good", "bad"]), turns=turns)
    def annotate(self, pick: int, note: str, turns: int) -> None:
        asked = AnnotateParameters(name=self._name(pick), note=note)
        self._call("annotate", asked.name, annotate(self.life.registry, asked), turns)

    @precondition(while_jobs)
    @rule(pick=picks, mode=modes, lasts=st.none() | seconds, turns=turns)
    def set_watchdog(self, pick: int, mode: WatchdogMode, lasts: float | None, turns: int) -> None:
        name = self._name(pick)
        ends = None if lasts is None else self.world.clock.time() + lasts
        self._call("set_watchdog", name, self.life.steering.set_watchdog(name, mode, until=ends), turns)

    @rule(paused=st.booleans(), turns=turns)
    def pause(self, paused: bool, turns: int) -> None:
        self.life.call("pause", self.life.pause(paused=paused), lambda _: None)
        self.life.loop.run_steps(turns)

    # -- time ----------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.3, 1.0, 3.0, 15.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.life.loop.run_for(seconds)

    @rule(turns=st.integers(1, 60))
    def a_moment(self, turns: int) -> None:
        self.life.loop.run_steps(turns)

    @rule(seconds=st.sampled_from([-1e8, -3600.0, 3600.0, 1e8]))
    def the_clock_is_set(self, seconds: float) -> None:
        self.world.clock.ahead += seconds

    # -- the daemon ----------------------------------------------------------------------------------------------

    @rule(
        orderly=st.sampled_from([False, False, True]),
        meanwhile=st.sampled_from(
            [None, None, "it ends", "its shim dies", "all of it dies", "a reboot", "another boot"]
        ),
        away=st.sampled_from([0.0, 0.1, 2.0, 30.0]),
        where=st.sampled_from([None, None, None, None, 0, 0, 1, 2]),
        pick=picks,
    )
    def the_daemon_goes_and_comes(
        self, orderly: bool, meanwhile: str | None, away: float, where: int | None, pick: int
    ) -> None:
        world = self.world
        if orderly:
            self.life.stop()
        else:
            self.life.die()
        self.up = False
        alive = [attempt for attempt in world.attempts if attempt.alive]
        attempt = alive[pick % len(alive)] if alive else None
        match meanwhile:
            case "it ends" if attempt is not None:
                world.exits(attempt, code=0)
            case "its shim dies" if attempt is not None:
                world.shim_dies(attempt)
            case "all of it dies" if attempt is not None:
                world.all_die(attempt)
            case "a reboot":
                world.reboots(world.here, orderly=orderly, container=False)
            case "another boot":
                world.reboots(world.here, orderly=orderly, container=True)
            case _:
                pass
        world.pass_by(away)
        if where is not None:
            world.here = world.machines[where]
        self.start()

    @rule(seconds=seconds)
    def the_session_ends(self, seconds: float) -> None:
        """The jobs get SIGTERM before the daemon does, as their scopes are ordered After= its service."""
        self.world.disturb("no bus", seconds)
        self.world.ends_session(self.world.here)
        self.life.loop.run_for(seconds)

    @rule(which=st.integers(1, 2), orderly=st.booleans())
    def another_machine_reboots(self, which: int, orderly: bool) -> None:
        machine = self.world.machines[which]
        if machine is not self.world.here:
            self.world.reboots(machine, orderly=orderly, container=False)

    def start(self) -> None:
        self.life.begin()
        self.up = True

    # -- trainers and shims --------------------------------------------------------------------------------------

    @precondition(while_training)
    @rule(pick=picks, steps=st.integers(1, 15), saves=st.booleans())
    def a_trainer_works(self, pick: int, steps: int, saves: bool) -> None:
        attempt = self._pick(pick, lambda attempt: attempt.trainer_alive)
        self.world.trains(attempt, steps)
        if saves:
            self.world.saves(attempt)

    @precondition(while_training)
    @rule(pick=picks)
    def a_trainer_finishes(self, pick: int) -> None:
        self.world.finishes(self._pick(pick, lambda attempt: attempt.trainer_alive))

    @precondition(while_training)
    @rule(pick=picks, how=st.sampled_from([0, 1, 143, -9, -15, -11]), leaves_one=st.booleans())
    def a_trainer_ends(self, pick: int, how: int, leaves_one: bool) -> None:
        attempt = self._pick(pick, lambda attempt: attempt.trainer_alive)
        attempt.left_behind = leaves_one
        if how < 0:
            self.world.exits(attempt, signal_number=-how)
        else:
            self.world.exits(attempt, code=how)

    @precondition(while_training)
    @rule(pick=picks, deaf=st.booleans())
    def a_trainer_hangs(self, pick: int, deaf: bool) -> None:
        attempt = self._pick(pick, lambda attempt: attempt.trainer_alive)
        attempt.deaf = True
        attempt.unkillable = not deaf

    @precondition(while_training)
    @rule(pick=picks)
    def a_scope_is_stopped_by_hand(self, pick: int) -> None:
        self.world.told_all_to_leave(self._pick(pick, lambda attempt: attempt.trainer_alive))

    @precondition(while_shims_live)
    @rule(pick=picks)
    def a_shim_dies(self, pick: int) -> None:
        self.world.shim_dies(self._pick(pick, lambda attempt: attempt.shim_alive))

    @precondition(while_training)
    @rule(pick=picks, seconds=seconds)
    def a_trainer_outlives_its_shim(self, pick: int, seconds: float) -> None:
        self.world.shim_dies(self._pick(pick, lambda attempt: attempt.trainer_alive))
        self.life.loop.run_for(seconds)

    @precondition(while_shims_live)
    @rule(pick=picks)
    def memory_runs_out(self, pick: int) -> None:
        self.world.all_die(self._pick(pick, lambda attempt: attempt.shim_alive))

    # -- systemd and the disk ------------------------------------------------------------------------------------

    @precondition(while_shims_live)
    @rule()
    def systemd_is_reloaded(self) -> None:
        self.life.adapter.unit_removed()

    @rule(seconds=seconds)
    def the_bus_is_away(self, seconds: float) -> None:
        self.world.disturb("no bus", seconds)

    @rule(how=st.sampled_from(PLACING))
    def the_next_scope_is_made(self, how: str) -> None:
        self.world.placing = how

    @rule(seconds=seconds)
    def nvml_does_not_answer(self, seconds: float) -> None:
        gpus = self.life.gpus
        gpus.uncertain = "NVML does not answer."
        self.world.later(seconds, lambda: setattr(gpus, "uncertain", None))

    @rule(lies=st.booleans(), seconds=seconds)
    def the_disk_refuses(self, lies: bool, seconds: float) -> None:
        self.world.disturb("lying disk" if lies else "full disk", seconds)

    # -- what must be true ---------------------------------------------------------------------------------------

    @invariant()
    def promises_hold(self) -> None:
        self.promises.check()

    def teardown(self) -> None:
        """Ends all disturbances and brings every job to its end."""
        try:
            if self.promises.told:
                self._settle()
        finally:
            if self.up:
                self.life.die()
            logging.getLogger("fluxgymd").removeHandler(self.log)
            self.patch.undo()
            gc.unfreeze()  # undoes the registry's gc.freeze(), which is meant to last as long as a daemon
            shutil.rmtree(self.folder)

    def _settle(self) -> None:
        world = self.world
        world.over.clear()
        world.placing, world.diligent = "well", True
        for attempt in world.attempts:
            attempt.deaf = attempt.unkillable = attempt.left_behind = False
            if attempt.trainer_alive:
                world.soon(lambda attempt=attempt: world.finishes(attempt))  # type: ignore[misc]
        for machine in reversed(world.machines):
            if self.up:
                self.life.die()
            world.here = machine
            # The other machines' queues are paused: there, the daemon only looks after earlier attempts.
            MachineState(self.folder / "state", machine.place.machine_id).pause(
                paused=machine is not world.machines[0]
            )
            self.start()
            self.life.loop.run_while(self._something_goes_on, limit=SETTLE_SECONDS)
            self.promises.check()
        self.life.die()  # what is not on the disk by now is lost
        self.start()
        self.promises.check_settled()

    def _something_goes_on(self) -> bool:
        """Whether a job of this machine is alive or could start."""
        jobs = self.life.jobs()
        for job in jobs.values():
            if isinstance(job.state, Live) and job.state.attempt.place.machine_id == self.world.here.place.machine_id:
                return True
            if isinstance(job.state, Waiting) and self.world.here is self.world.machines[0] and not job.held:
                ahead = [jobs.get(name) for name in job.context.after or ()]
                if all(other is not None and isinstance(other.state, Completed) for other in ahead):
                    return True
        return False

    # -- helpers -------------------------------------------------------------------------------------------------

    def _call(self, verb: str, name: str, work: Coroutine[Any, Any, Any], turns: int) -> None:
        told = self.promises.begun(verb, name)
        self.life.call(f"{verb} {name}", work, lambda refusal: self.promises.answered(verb, name, told, refusal))
        self.life.loop.run_steps(turns)

    def _name(self, pick: int) -> str:
        names = sorted(self.life.jobs())
        return names[pick % len(names)]

    def _pick(self, pick: int, fits: Callable[[Attempt], bool]) -> Attempt:
        found = [attempt for attempt in self.world.attempts if fits(attempt)]
        return found[pick % len(found)]


def fast_folder() -> str | None:
    """A folder in memory, if the system has one. What an fsync is worth is tested elsewhere."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def test_no_fault_breaks_a_promise() -> None:
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=LOOKED_FOR or EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=not LOOKED_FOR,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
