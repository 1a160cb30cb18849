# SPDX-License-Identifier: Apache-2.0
"""A daemon is started with signals ignored and blocked; the programs that it starts get default dispositions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from fluxgym.errors import InvalidDataset
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import State
from tests.daemon import ignoring
from tests.daemon.running import DONE, TRAINER_PYTHON, RunningDaemon, context, popen_here, program, write_script
from tests.gpus.nvml import Nvml, build, gpu
from tests.harness.signals import numbers
from tests.harness.waiting import DEADLINE_SECONDS, until

OF_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}
"""Python ignores these in its own process; its child processes get the defaults."""
OF_GLIBC = {32, 33}
"""glibc's two internal signals, which posix_spawn leaves ignored until the first thread is created."""


def popen_ignoring(command: Sequence[str | Path], env: Mapping[str, str]) -> subprocess.Popen[str]:
    return popen_here([sys.executable, ignoring.__file__, *command], env)


def assert_default(status: str, *, python: bool = False) -> None:
    ignored = numbers(status, "SigIgn") - OF_GLIBC
    assert ignored <= (OF_PYTHON if python else set()), status  # this Python may still be starting up
    assert not numbers(status, "SigBlk"), status


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


@pytest.fixture
def statuses(folder: Path) -> Path:
    """The folder in which each program stores the signal lines of its /proc/PID/status."""
    (path := folder / "statuses").mkdir()
    return path


def keeps_status(path: Path, *, then: str) -> str:
    return f"grep Sig /proc/self/status >{path}.new; mv {path}.new {path}; {then}"


@pytest.fixture
def ignoring_daemon(
    folder: Path, statuses: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningDaemon]:
    nvml = Nvml(build(tmp_path_factory.mktemp("nvml")), folder / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"))
    hook = write_script(folder / "hook", keeps_status(statuses / "hook", then="cat >/dev/null"))
    python = write_script(folder / "python", keeps_status(statuses / "question", then=f'exec {TRAINER_PYTHON} "$@"'))
    env = {
        "FLUXGYM_HOOKS_ON_FINISH": str(hook),
        "FLUXGYM_TRAINER_PYTHON": str(python),
        "FLUXGYM_FAILPOINTS": "dataset.picture_copied=hang",
        **nvml.environment,
    }
    daemon = RunningDaemon(folder, popen=popen_ignoring, arguments=("--supervisor", "process"), env=env)
    with daemon:
        yield daemon


def test_the_parent_of_this_test_ignores_the_signals(tmp_path: Path) -> None:
    """The premise of the test below."""
    output = tmp_path / "status"
    with output.open("wb") as stream:
        command = [sys.executable, ignoring.__file__, "grep", "Sig", "/proc/self/status"]
        subprocess.run(command, check=True, stdout=stream, timeout=DEADLINE_SECONDS)
    assert numbers(output.read_text(), "SigIgn") >= set(ignoring.NUMBERS)
    assert numbers(output.read_text(), "SigBlk") >= set(ignoring.NUMBERS)


def test_every_program_that_the_daemon_starts_gets_default_dispositions(
    ignoring_daemon: RunningDaemon, statuses: Path, model: Path
) -> None:
    daemon = ignoring_daemon
    trainer = keeps_status(statuses / "trainer", then="while ! test -e go; do sleep 0.02; done")
    daemon.submit(program("program", f"{trainer}; {DONE}"))
    until((statuses / "trainer").exists, what="the trainer to run")
    assert_default((statuses / "trainer").read_text())

    shim = json.loads((daemon.folder("program") / "attempts" / "001" / "shim.json").read_text())["pid"]
    ignored = numbers(status_of(shim), "SigIgn") - OF_GLIBC
    assert ignored == OF_PYTHON, "the shim blocks what it waits for, and ignores nothing"

    probe = until(lambda: daemon.helper("fluxgymd.gpus.probe"), what="the program that asks NVML")
    assert_default(status_of(probe.pid), python=True)

    def submit_in_vain() -> None:
        with pytest.raises(InvalidDataset):
            daemon.submit(context("lora", model))

    submit = threading.Thread(target=submit_in_vain)
    submit.start()

    copier = until(lambda: daemon.helper("fluxgymd.snapshots.snapshot"), what="the program that copies the pictures")
    until(lambda: "hangs" in daemon.log.read_text(), what="it to have copied one")
    assert_default(status_of(copier.pid), python=True)
    copier.kill()
    submit.join(DEADLINE_SECONDS)
    assert_default((statuses / "question").read_text())

    (daemon.folder("program") / "go").touch()
    daemon.wait("program", State.COMPLETED)
    until((statuses / "hook").exists, what="the hook to be called")
    assert_default((statuses / "hook").read_text())


def test_a_job_of_such_a_daemon_can_be_interrupted(ignoring_daemon: RunningDaemon) -> None:
    """A shell cannot trap SIGINT if it was started with SIGINT ignored (POSIX)."""
    traps = "trap 'exit 130' INT; touch ready; while :; do sleep 0.02; done"
    ignoring_daemon.submit(program("program", traps))
    until((ignoring_daemon.folder("program") / "ready").exists, what="the program to run")
    attempt = ignoring_daemon.wait("program", State.RUNNING).runtime.attempt
    assert attempt is not None
    assert attempt.pid is not None
    os.kill(attempt.pid, signal.SIGINT)
    ended = "It was ended from outside FluxGym by SIGINT."

    def reasons() -> list[str]:
        return [event["reason"] for event in ignoring_daemon.events("program") if event["event"] == "ended"]

    until(reasons, what="its end")
    assert reasons() == [ended]
    ignoring_daemon.call(m.STOP, m.StopParameters(name="program"))
