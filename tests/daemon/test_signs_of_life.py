# SPDX-License-Identifier: Apache-2.0
"""Trainers that are dead while something else is active, end to end: another program's load on the GPU, a thread that
reads /proc, repeated steps. One runs in a pod, where the load on the GPU cannot be attributed (promise 7).

The trainers are stand-ins, since the tests are about the activity beside them.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State, WatchdogMode
from tests.daemon.running import TRAINING_SECONDS, Asked, RunningDaemon, context
from tests.gpus.nvml import Nvml, build, gpu
from tests.harness.waiting import until

TRAINER = """
import json, os, sys, time
if "--help" in sys.argv:
    sys.exit(0)
does = sys.argv[sys.argv.index("--output_name") + 1]
print("begins", flush=True)
while does in ("game", "pod"):
    time.sleep(1000)
while does == "reader":  # 256 KB a second, and hardly any processor time
    with open("/proc/kallsyms", "rb", buffering=0) as file:
        for _ in range(32): file.read(4096)
    time.sleep(0.5)
while does == "loop":
    for step in range(8):
        with open(os.environ["FLUXGYM_METRICS"], "a") as file:
            print(json.dumps({"time": time.time(), "phase": "training", "step": step, "totalSteps": 64}), file=file)
        time.sleep(0.1)
"""
LIMITS = {"interval_seconds": 1.0, "without_phase_seconds": 10.0, "step_floor_seconds": 10.0, "step_factor": 2.0}
OF_THE_HOST = 4_000_000_000
"""A pid of the host's pid namespace, which names no process in this one."""
JOBS = ("pod", "game", "reader", "loop")


@pytest.fixture
def nvml(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Nvml:
    return Nvml(build(tmp_path_factory.mktemp("nvml")), folder / "nvml.txt")


@pytest.fixture
def daemon(folder: Path, nvml: Nvml) -> RunningDaemon:
    trainer = folder / "trainer"
    trainer.mkdir()
    (trainer / "flux_train_network.py").write_text(TRAINER)
    env = {"FLUXGYM_TRAINER_PATH": str(trainer), "FLUXGYM_STOP_LIMIT_SECONDS": "1", **nvml.environment}
    return RunningDaemon(folder, env=env, arguments=("--supervisor", "process"))


def tell(nvml: Nvml, **pids: int) -> None:
    """Sets the pid that NVML lists for each job's GPU, 0 by default. The GPUs of `pod` and `game` are busy."""
    busy = {"pod": 60, "game": 60}
    lines = [gpu(f"GPU-{job}", utilization=busy.get(job, 0)) for job in JOBS]
    nvml.tell(*lines, *(f"process GPU-{job} {pids.get(job, 0)}" for job in JOBS))


def stuck(daemon: Asked, job: str) -> list[dict[str, Any]]:
    return [event for event in daemon.events(job) if event["event"] == "stuck"]


def found(daemon: Asked, job: str) -> dict[str, Any]:
    (first, *_) = until(lambda: stuck(daemon, job), what=f"{job} to be found", deadline_seconds=TRAINING_SECONDS)
    return first


def test_promise_7_activity_beside_a_dead_trainer_is_not_a_sign_of_life(
    daemon: RunningDaemon, nvml: Nvml, model: Path
) -> None:
    tell(nvml, pod=OF_THE_HOST, game=os.getpid())
    with daemon:
        for job in JOBS:  # the pod first, so it is still for longer than those that are found
            changes = {"gpus": [f"GPU-{job}"], "trainer_options": {}, "watchdog": WatchdogMode.WARN}
            daemon.submit(context(job, model, watchdog_limits=LIMITS, **changes))
            daemon.wait(job, State.RUNNING)
        game = found(daemon, "game")
        assert game["rule"] == "still"
        assert any("60 % busy" in seen and "the load comes from another program" in seen for seen in game["evidence"])
        assert found(daemon, "reader")["rule"] == "still"
        loop = found(daemon, "loop")
        assert (loop["rule"], loop["phase"]) == ("step", "training")
        assert "It is repeating steps that it has already done." in loop["evidence"][0]

        explained = daemon.call(m.WATCHDOG, m.JobName(name="pod")).explanation
        assert any(one.endswith("NVML's pids belong to another pid namespace.") for one in explained), explained
        assert not stuck(daemon, "pod"), "where it cannot be told, no job may be taken for a dead one"
        tell(nvml, game=os.getpid())
        assert found(daemon, "pod")["rule"] == "still"
        for job in JOBS:
            daemon.call(m.STOP, m.StopParameters(name=job))
            daemon.wait(job, State.STOPPED)
