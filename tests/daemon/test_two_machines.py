# SPDX-License-Identifier: Apache-2.0
"""Two complete machines that share a volume without file locks: one home, one daemon, one run of each job.

The machines are booted from the same image and, like clones, may have the same machine-id: only their boot ids are
sure to differ.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from fluxgym.errors import FluxgymError, StorageFailed
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, State, WaitingFor
from fluxgymd.store.owner import EXPIRY_SECONDS
from tests.daemon.running import ROOT, RunningDaemon, program
from tests.harness import lockless
from tests.harness.booted_machine import BootedMachine
from tests.harness.namespace import need_root
from tests.harness.waiting import until

pytestmark = pytest.mark.booted


class Here(RunningDaemon):
    """A daemon on one of the machines. Its home is on the volume unless `home` says otherwise."""

    def __init__(self, machine: BootedMachine, volume: Path, name: str, *, home: Path | None = None) -> None:
        folder = volume / name
        folder.mkdir()
        super().__init__(folder, popen=self._popen_there, arguments=("--supervisor", "process"))
        self.machine = machine
        self.home = home or volume / "home"

    def _popen_there(self, command: Sequence[str | Path], env: Mapping[str, str]) -> subprocess.Popen[str]:
        return self.machine.popen([*self._lockless(), *command], env=env)

    def _lockless(self) -> list[str | Path]:
        return [sys.executable, lockless.__file__, "--listen", self.socket]

    def refusal(self) -> str:
        """Starts a daemon that is refused the home; its exit status must be 4. Returns its message."""
        command: list[str | Path] = [sys.executable, "-m", "fluxgymd", "--home", self.home, "--socket", self.socket]
        environment = self.environment | {"PYTHONPATH": str(ROOT)}
        done = self.machine.run([*self._lockless(), *command], env=environment, check=False)
        assert done.returncode == 4, done.stderr
        return done.stderr

    def own_pid(self) -> int:
        """The daemon's pid as seen from the test. The daemon itself reports its pid in the machine's namespace."""
        inside = self.info().pid
        listed = self.machine.namespace.group.rglob("cgroup.procs")
        pids = [int(line) for file in listed for line in file.read_text().split()]
        return next(pid for pid in pids if _pids(pid)[-1] == inside and len(_pids(pid)) > 2)


def _pids(pid: int) -> list[int]:
    """A process's pids, from the outermost namespace to the innermost."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return [int(word) for word in line.split()[1:]]
    return []


@pytest.fixture
def volume() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fg-volume-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def machines(volume: Path) -> Iterator[tuple[BootedMachine, BootedMachine]]:
    need_root("boots machines")
    with ExitStack() as stack:
        first, second = (stack.enter_context(BootedMachine(shared=volume)) for _ in range(2))
        yield first, second


def telling(volume: Path, name: str) -> Context:
    """A program that records each run, and ends when the file `end` exists."""
    script = (
        f"cat /proc/sys/kernel/random/boot_id >>{volume}/runs; until test -e {volume}/end; do sleep 0.1; done; exit 7"
    )
    return program(name, script)


def runs(volume: Path) -> list[str]:
    """The boot id of each run, in order."""
    return (volume / "runs").read_text().split()


def age(home: Path) -> None:
    """Makes the owner's last sign of life look old, both in the record and in the file's times."""
    then = time.time() - 2 * EXPIRY_SECONDS
    path = home / "owner.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"renewedAt": then}))
    os.utime(path, (then, then))


def test_promise_4_one_home_works_on_two_machines(
    volume: Path, machines: tuple[BootedMachine, BootedMachine]
) -> None:
    one, other = machines
    first, second = Here(one, volume, "1"), Here(other, volume, "2")
    first.start()
    first.submit(telling(volume, "job"))
    first.submit(program("later", after=["job"]))
    first.wait("job", State.RUNNING)
    until(lambda: (volume / "runs").exists() and runs(volume), what="the program to run")

    # While the first daemon owns the home, the second is refused and told who the owner is.
    told = second.refusal()
    assert (
        f"is owned by the fluxgymd with pid {first.info().pid} and socket {first.socket} on another machine" in told
    )

    # The first hangs until the second may take the home. The second reports the job as lost and does not rerun it.
    first_pid = first.own_pid()
    os.kill(first_pid, signal.SIGSTOP)
    age(first.home)
    second.start()
    lost = second.wait("job", State.LOST).runtime
    assert "another machine" in str(lost.reason)
    assert lost.attempt is not None
    assert lost.attempt.number == 1
    second.submit(telling(volume, "next"))
    second.wait("next", State.RUNNING)  # the second starts jobs, but does not restart the lost one
    until(lambda: len(runs(volume)) == 2, what="the program of the next job to run")
    assert runs(volume) == [one.boot_id(), other.boot_id()]

    # The first wakes up and finds its home taken: it says so, starts nothing and writes nothing there.
    os.kill(first_pid, signal.SIGCONT)
    reasons = until(lambda: first.info().degraded, what="the first to notice")
    assert "This daemon has lost the home" in reasons[0]
    assert f"socket {second.socket} on another machine" in reasons[0]
    until(lambda: first.job("later").runtime.waiting_for is WaitingFor.HOME, what="the queue to stand still")
    outputs = volume / "home" / "outputs"
    before = {path: path.read_bytes() for path in outputs.rglob("*") if path.is_file()}
    for call in (
        lambda: first.submit(telling(volume, "more")),
        lambda: first.call(m.STOP, m.StopParameters(name="job")),
    ):
        with pytest.raises(StorageFailed, match="This daemon has lost the home"):
            call()
    first.stop()
    assert {path: path.read_bytes() for path in outputs.rglob("*") if path.is_file()} == before
    assert json.loads((first.home / "owner.json").read_text())["socket"] == str(second.socket)
    assert second.job("job").runtime.state is State.LOST

    # The second releases the home, and the first finds its job still running.
    second.call(m.STOP, m.StopParameters(name="next"))
    second.wait("next", State.STOPPED)
    second.stop()
    first.start()
    again = first.wait("job", State.RUNNING).runtime.attempt
    assert again is not None
    assert (again.number, len(runs(volume))) == (1, 2)
    first.call(m.STOP, m.StopParameters(name="job"))
    first.wait("job", State.STOPPED)
    first.stop()

    # The first has recorded the end of the job and released the home: now the second can resume it.
    second.start()
    second.call(m.RESUME, m.ResumeParameters(name="job"))
    assert second.wait("job", State.RUNNING).runtime.attempt is not None
    until(lambda: len(runs(volume)) == 3, what="the second run")
    assert runs(volume)[2] == other.boot_id()
    (volume / "end").touch()
    ended = second.wait("job", State.FAILED).runtime
    assert ended.attempt is not None
    assert ended.attempt.exit is not None
    assert (ended.attempt.number, ended.attempt.exit.code) == (2, 7)
    second.stop()


def test_promise_4_a_copy_of_a_home_runs_no_job_that_runs_in_the_original(
    volume: Path, machines: tuple[BootedMachine, BootedMachine]
) -> None:
    one, other = machines
    first = Here(one, volume, "1")
    first.start()
    first.submit(telling(volume, "job"))
    first.submit(program("after", after=["job"]))
    first.wait("job", State.RUNNING)
    until(lambda: (volume / "runs").exists() and runs(volume), what="the program to run")
    copy = volume / "copy"
    shutil.copytree(first.home, copy)
    second = Here(other, volume, "2", home=copy)
    assert "on another machine" in second.refusal()
    age(copy)
    second.start()
    second.wait("job", State.LOST)
    assert second.job("after").runtime.waiting_for is WaitingFor.JOB
    with pytest.raises(FluxgymError):
        second.call(m.RESUME, m.ResumeParameters(name="job"))
    (volume / "end").touch()
    ended = first.wait("job", State.FAILED).runtime.attempt
    assert ended is not None
    assert ended.exit is not None
    assert ended.exit.code == 7
    assert second.job("job").runtime.state is State.LOST, "what became of it is known where it ran"
    assert runs(volume) == [one.boot_id()]
    second.stop()
    first.stop()
