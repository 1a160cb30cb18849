# SPDX-License-Identifier: Apache-2.0
"""The shim is killed, alone or with its trainer. A trainer that survives still belongs to the job, and one that has
ended is recorded as ended, even if the daemon is killed meanwhile. Tests run with plain processes and with scopes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import ExitKind, Job, State, WatchdogMode
from tests.daemon.installed import InstalledDaemon
from tests.daemon.running import Asked, RunningDaemon, context, program, tensors
from tests.harness.waiting import until

RESULT = """printf '{"files": []}' > result.json"""
UNTIL_GO = "until test -e go; do sleep 0.05; done"
UNSUPERVISED = "Its supervising process is gone, so its exit status will not be known."


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A daemon, with the means to signal its jobs' processes and to kill and restart it."""

    daemon: Asked
    send: Callable[[int, signal.Signals], None]
    restart: Callable[[], None]
    """Kills the daemon with SIGKILL and starts another."""

    def submit(self, name: str, script: str, **changes: Any) -> None:
        self.daemon.submit(program(name, script, **changes))
        self.event(name, "started")

    def event(self, name: str, kind: str, attempt: int = 1) -> dict[str, Any]:
        """Waits for an event of this kind."""

        def look() -> dict[str, Any] | None:
            found = (event for event in self.daemon.events(name) if event["event"] == kind)
            return next((event for event in found if event["attempt"] == attempt), None)

        return until(look, what=f"{kind} of attempt {attempt} of {name}")

    def shim(self, name: str) -> int:
        return int(self.event(name, "spawned")["shim"]["pid"])

    def trainer(self, name: str) -> int:
        return int(self.event(name, "started")["trainer"]["pid"])

    def kill_shim(self, name: str) -> None:
        """Kills the shim and waits until the daemon reports it."""
        self.send(self.shim(name), signal.SIGKILL)
        until(lambda: self.daemon.job(name).runtime.reason == UNSUPERVISED, what=f"{name} to be unsupervised")

    def kinds(self, name: str) -> list[str]:
        return [event["event"] for event in self.daemon.events(name)]


@pytest.fixture(params=["process", pytest.param("scope", marks=pytest.mark.systemd)])
def bench(request: pytest.FixtureRequest, folder: Path) -> Iterator[Bench]:
    if request.param == "process":
        with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:

            def restart() -> None:
                daemon.kill()
                daemon.start()

            yield Bench(daemon=daemon, send=os.kill, restart=restart)
        return
    manager = request.getfixturevalue("user_manager")
    installed = InstalledDaemon(manager)
    yield Bench(daemon=installed, send=manager.send_signal, restart=installed.kill)
    installed.end_jobs()


def exit_of(job: Job) -> ExitKind:
    assert job.runtime.attempt is not None
    assert job.runtime.attempt.exit is not None
    return job.runtime.attempt.exit.kind


def test_promise_2_a_training_continues_without_its_shim_and_is_completed(
    bench: Bench, model: Path, undisturbed: dict[str, bytes]
) -> None:
    daemon = bench.daemon
    daemon.submit(context("my-lora", model))
    daemon.reach("my-lora", 2)
    trainer = bench.trainer("my-lora")
    bench.send(trainer, signal.SIGSTOP)  # keeps the training from ending too early
    bench.kill_shim("my-lora")
    before = daemon.job("my-lora").runtime
    assert before.state is State.RUNNING
    bench.restart()
    after = daemon.job("my-lora").runtime
    assert (after.state, after.reason, after.attempt) == (State.RUNNING, UNSUPERVISED, before.attempt)
    bench.send(trainer, signal.SIGCONT)
    job = daemon.wait("my-lora", State.COMPLETED)
    assert job.runtime.reason == "Its result is complete. Its exit status is unknown: its supervisor was gone."
    assert exit_of(job) is ExitKind.UNKNOWN
    assert tensors(daemon.folder("my-lora") / "my-lora.safetensors") == undisturbed
    begun = ["submitted", "reserved", "spawned", "placed", "started"]
    assert bench.kinds("my-lora") == [*begun, "unsupervised", "ended"]


def test_promise_5_a_training_that_ends_early_without_its_shim_is_interrupted_and_resumed(
    bench: Bench, model: Path, undisturbed: dict[str, bytes]
) -> None:
    daemon = bench.daemon
    daemon.submit(context("my-lora", model))
    daemon.reach("my-lora", 18)
    trainer = bench.trainer("my-lora")
    bench.send(trainer, signal.SIGSTOP)
    bench.kill_shim("my-lora")
    bench.send(trainer, signal.SIGKILL)
    end = bench.event("my-lora", "ended")
    assert (end["outcome"], end["reason"]) == (
        "interrupted",
        "It ended after its supervisor, so its exit status is unknown.",
    )
    assert "exit" not in end
    job = daemon.wait("my-lora", State.COMPLETED)
    assert exit_of(job) is ExitKind.EXITED
    assert bench.event("my-lora", "reserved", 2)["step"] >= 16
    assert tensors(daemon.folder("my-lora") / "my-lora.safetensors") == undisturbed


WITH_A_WORKER = f"""
if test -e ran; then {RESULT}; exit 0; fi
touch ran
setsid sleep 1000 &
echo $! > worker.new; mv worker.new worker
wait
"""


@pytest.mark.parametrize("restarted", [False, True])
def test_promise_4_what_outlives_its_shim_and_its_trainer_is_stopped_and_the_job_is_resumed(
    bench: Bench, *, restarted: bool
) -> None:
    bench.submit("job", WITH_A_WORKER)
    worker = bench.daemon.folder("job") / "worker"
    until(worker.exists, what="the worker")
    if restarted:
        bench.send(bench.trainer("job"), signal.SIGSTOP)
        bench.kill_shim("job")
        bench.restart()
    else:
        bench.send(bench.shim("job"), signal.SIGKILL)
    bench.send(bench.trainer("job"), signal.SIGKILL)
    end = bench.event("job", "ended")
    assert (end["outcome"], end["proof"]) == ("interrupted", "none of its processes is left")
    assert "sight_lost" not in bench.kinds("job")
    bench.daemon.wait("job", State.COMPLETED)
    assert "some of its processes remain: stopping them" in (bench.daemon.folder("job") / "monitor.log").read_text()


def test_a_training_that_runs_without_its_shim_can_be_stopped(bench: Bench) -> None:
    bench.submit("job", "trap 'exit 143' TERM; while :; do sleep 0.05; done")
    bench.kill_shim("job")
    bench.daemon.call(m.STOP, m.StopParameters(name="job"))
    job = bench.daemon.wait("job", State.STOPPED)
    assert job.runtime.reason == "It was stopped by the user; its exit status is unknown."
    assert exit_of(job) is ExitKind.UNKNOWN


HANGS = {"interval_seconds": 0.5, "without_phase_seconds": 5.0}


def test_promise_7_a_training_that_hangs_without_its_shim_is_found_stuck_and_resumed(bench: Bench) -> None:
    script = f"if test -e go; then {RESULT}; exit 0; fi; until test -e go; do echo; sleep 0.05; done; exec sleep 1000"
    bench.submit("job", script, watchdog=WatchdogMode.ACT, watchdog_limits=HANGS)
    bench.kill_shim("job")
    (bench.daemon.folder("job") / "go").touch()
    assert bench.event("job", "stuck")["why"].startswith("Nothing moved at all for ")
    end = bench.event("job", "ended")
    assert (end["outcome"], end["reason"].partition(".")[0]) == ("interrupted", "It hung")
    bench.daemon.wait("job", State.COMPLETED)


def test_promise_4_a_shim_whose_lock_and_records_were_deleted_still_counts(bench: Bench) -> None:
    bench.submit("job", f"{UNTIL_GO}; exit 42")
    for name in ("lock", "shim.json", "started.json"):
        (bench.daemon.folder("job") / "attempts" / "001" / name).unlink()
    bench.restart()
    assert bench.daemon.job("job").runtime.state is State.RUNNING
    (bench.daemon.folder("job") / "go").touch()
    bench.daemon.wait("job", State.FAILED)
    assert "sight_lost" not in bench.kinds("job")
    assert bench.event("job", "ended")["exit"]["code"] == 42
