# SPDX-License-Identifier: Apache-2.0
"""The daemon's heartbeat in a real user manager, with the installed unit. If a part of the daemon hangs or dies,
systemd restarts the daemon; the running job does not notice, and the next daemon adopts it. A hung NVML causes no
restart.

The faults are real: failpoints cause them in the running daemon. The restarted daemon has none.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from fluxgym.protocol import machine_methods as mm
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Attempt, Context, Kind, State, WatchdogMode
from fluxgymd.core.health import LOOKS
from fluxgymd.failpoints import VARIABLE
from tests.daemon.installed import SERVICE, InstalledDaemon
from tests.gpus.nvml import Nvml, build, gpu
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until

pytestmark = pytest.mark.systemd

WATCHDOG_SECONDS = 12

WORK = """while [ ! -e "$0" ]; do echo tick; sleep 0.1; done; exit 3"""
"""Runs until the file given as its argument exists, then exits with status 3."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    rule: str
    """The value of FLUXGYM_FAILPOINTS."""
    question: str | None = None
    """A request that triggers the fault; None if it occurs without one."""
    why: str
    """The reason in the daemon's log."""
    stack: str
    """Text that must appear in the stacks in that log."""
    ends_meanwhile: bool = False
    """Whether the job ends before the restart rather than after it."""


FAULTS = {
    "event-loop": Fault(
        rule="verb.recorded=hang",
        question=json.dumps({"method": m.HOLD.name, "parameters": {"name": "next"}}),
        why="failpoint verb.recorded: hangs",
        stack="in _decide\n",
        ends_meanwhile=True,
    ),
    "bus-thread": Fault(
        rule="bus.turn=hang:30",
        why="a restart of the daemon is needed: the bus thread does not answer",
        stack="bus.py",
    ),
    "dead-bus-thread": Fault(
        rule="bus.turn=error:EIO:30",
        why="a restart of the daemon is needed: the bus thread has ended",
        stack="Exception in thread bus",
        ends_meanwhile=True,
    ),
    "writer": Fault(
        rule="machine.durable=hang",
        question=json.dumps({"method": mm.PAUSE.name}),
        why="a restart of the daemon is needed: a write has made no progress",
        stack="in pause\n",
    ),
}


def settings(manager: UserManager) -> str:
    """A short WatchdogSec, and a record of each end of the service in a file, as there is no journal here."""
    note = f"/bin/sh -c 'echo $SERVICE_RESULT $EXIT_STATUS >>{manager.directory}/ends'"
    return f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}\nExecStopPost={note}\n"


def configure(daemon: InstalledDaemon, rule: str = "") -> None:
    """Changes the configuration for the daemon's next start."""
    lines = settings(daemon.manager) + (f"Environment={VARIABLE}={rule}\n" if rule else "")
    folder = daemon.manager.home / ".config" / "systemd" / "user" / f"{SERVICE}.d"
    (folder / "test.conf").write_text(lines)
    daemon.manager.daemon_reload()


@contextmanager
def asked(daemon: InstalledDaemon, question: str | None) -> Iterator[None]:
    """Keeps a client connected that waits for an answer that never comes."""
    with socket.socket(socket.AF_UNIX) as client:
        if question is not None:
            client.connect(str(daemon.socket))
            client.sendall(question.encode() + b"\0")
        yield


def restarts(daemon: InstalledDaemon) -> int:
    return int(daemon.manager.show(SERVICE, "NRestarts"))


def wait_for_beats(daemon: InstalledDaemon, number: int) -> None:
    """Waits until the manager has received this many heartbeats."""
    seen: set[str] = set()

    def enough() -> bool:
        seen.add(daemon.manager.show(SERVICE, "WatchdogTimestampMonotonic"))
        return len(seen) > number

    until(enough, what=f"{number} beats")


def wait_for_ticks(daemon: InstalledDaemon, number: int) -> None:
    before = daemon.training_log("my-job").count("tick")
    until(lambda: daemon.training_log("my-job").count("tick") >= before + number, what="the job's log to go on")


@pytest.fixture
def daemon(user_manager: UserManager) -> Iterator[InstalledDaemon]:
    daemon = InstalledDaemon(user_manager, drop_in=settings(user_manager))
    yield daemon
    daemon.end_jobs()


@pytest.mark.parametrize("name", FAULTS)
def test_promises_1_and_2_a_part_of_the_daemon_that_hangs_leads_to_a_restart_that_no_job_notices(
    daemon: InstalledDaemon, name: str
) -> None:
    fault, over = FAULTS[name], daemon.manager.directory / "over"
    daemon.submit(Context(name="my-job", kind=Kind.PROGRAM, program=["/bin/sh", "-c", WORK, str(over)]))
    daemon.submit(Context(name="next", kind=Kind.PROGRAM, program=["/bin/true"], after=["my-job"]))
    daemon.wait("my-job", State.RUNNING)
    wait_for_ticks(daemon, 1)
    before = until(lambda: with_its_pid(daemon), what="its pid")
    configure(daemon, fault.rule)
    daemon.manager.systemctl("restart", SERVICE)
    configure(daemon)
    sick = daemon.pid
    with asked(daemon, fault.question):
        until(lambda: fault.why in log(daemon), what="the fault")
        wait_for_ticks(daemon, 3)
        if fault.ends_meanwhile:
            over.touch()
        until(lambda: restarts(daemon) > 0, what="the restart")
    until(lambda: daemon.pid not in (0, sick), what="another daemon")
    assert "watchdog ABRT" in (daemon.manager.directory / "ends").read_text().splitlines()
    assert fault.why in log(daemon)
    assert "Fatal Python error: Aborted" in log(daemon), "no stacks"
    assert fault.stack in log(daemon)

    if not fault.ends_meanwhile:
        assert daemon.job("my-job").runtime.attempt == before, "it noticed"
        wait_for_ticks(daemon, 3)
        over.touch()
    ended = daemon.wait("my-job", State.FAILED).runtime.attempt
    assert ended is not None
    assert ended.exit is not None
    assert (ended.number, ended.exit.code) == (1, 3)
    kinds = [event["event"] for event in daemon.events("my-job")]
    assert kinds == ["submitted", "reserved", "spawned", "placed", "started", "ended"]
    after = restarts(daemon)
    wait_for_beats(daemon, LOOKS)
    assert restarts(daemon) == after, "the next daemon is well"


def with_its_pid(daemon: InstalledDaemon) -> Attempt | None:
    attempt = daemon.job("my-job").runtime.attempt
    return attempt if attempt is not None and attempt.pid is not None else None


def log(daemon: InstalledDaemon) -> str:
    return daemon.log.read_text()


def test_a_hung_nvml_restarts_nothing(user_manager: UserManager, tmp_path_factory: pytest.TempPathFactory) -> None:
    nvml = Nvml(build(tmp_path_factory.mktemp("nvml")), user_manager.directory / "nvml.txt")
    nvml.tell(gpu("GPU-aaaa"), "hang nvmlDeviceGetUtilizationRates")
    lines = "".join(f'Environment="{name}={value}"\n' for name, value in nvml.environment.items())
    daemon = InstalledDaemon(user_manager, drop_in=settings(user_manager) + lines)
    with asked(daemon, json.dumps({"method": mm.GPUS.name})):
        wait_for_beats(daemon, 2 * LOOKS)
    until(lambda: any("NVML did not answer" in why for why in daemon.info().degraded), what="it to be told")
    with asked(daemon, json.dumps({"method": mm.GPUS.name})):
        wait_for_beats(daemon, 2 * LOOKS)
    shown = daemon.call(mm.GPUS, m.Nothing())
    assert "NVML did not answer" in str(shown.problem)
    assert [one.utilization for one in shown.gpus if one.utilization is not None] == [], "it is unknown, not well"
    assert restarts(daemon) == 0


def test_promise_7_a_hang_that_began_before_a_restart_is_found_after_it(daemon: InstalledDaemon) -> None:
    """The next daemon observes the job from scratch, so it finds the hang at most one limit later
    (docs/watchdog.md)."""
    daemon.submit(
        Context(
            name="my-job",
            kind=Kind.PROGRAM,
            program=["/bin/sh", "-c", "echo begins; exec sleep infinity"],
            watchdog=WatchdogMode.ACT,
            watchdog_limits={"interval_seconds": 1.0, "without_phase_seconds": 20.0},
        )
    )
    until(lambda: "begins" in daemon.training_log("my-job"), what="the hang to begin")
    daemon.kill()
    found = until(lambda: stuck(daemon), what="the hang to be found")[0]
    assert (found["attempt"], found["acts"], restarts(daemon)) == (1, True, 1)
    daemon.call(m.STOP, m.StopParameters(name="my-job"))
    daemon.wait("my-job", State.STOPPED)


def stuck(daemon: InstalledDaemon) -> list[dict[str, Any]]:
    return [event for event in daemon.events("my-job") if event["event"] == "stuck"]
