# SPDX-License-Identifier: Apache-2.0
"""Jobs in transient scopes of a real user manager, with the real units, and events that a job must not notice."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.protocol import methods as m
from fluxgym.protocol.machine_messages import Supervisor
from fluxgym.protocol.messages import ExitKind, State
from tests.daemon.installed import SERVICE, SOCKET, InstalledDaemon
from tests.daemon.running import context, tensors
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until

pytestmark = pytest.mark.systemd


@pytest.fixture
def daemon(user_manager: UserManager) -> Iterator[InstalledDaemon]:
    daemon = InstalledDaemon(user_manager)
    yield daemon
    user_manager.systemctl("start", SOCKET, SERVICE)
    daemon.end_jobs()


def test_a_job_runs_in_a_scope_of_its_own(daemon: InstalledDaemon, model: Path) -> None:
    assert daemon.info().supervisor is Supervisor.SCOPE
    daemon.submit(context("my-lora", model))
    daemon.reach("my-lora", 2)
    job = daemon.job("my-lora")
    assert job.runtime.attempt is not None
    unit = job.runtime.attempt.unit
    assert unit == f"fluxgym-my-lora-{job.runtime.id[:8]}.001.scope"
    assert daemon.running_scopes() == [unit]
    assert daemon.manager.show(unit, "Slice") == "fluxgym.slice"
    assert daemon.manager.show(unit, "After").split().count(SERVICE) == 1
    daemon.wait("my-lora", State.COMPLETED)
    until(lambda: not daemon.running_scopes(), what="the scope to go")
    assert tensors(daemon.folder("my-lora") / "my-lora.safetensors")


def test_promise_1_a_running_job_does_not_notice(
    daemon: InstalledDaemon, model: Path, undisturbed: dict[str, bytes]
) -> None:
    """kill -9, restart, daemon-reload, daemon-reexec and a killed bus, all during one training."""
    daemon.submit(context("my-lora", model))
    daemon.reach("my-lora", 2)
    before = daemon.job("my-lora").runtime.attempt
    assert before is not None
    assert before.pid is not None
    # Keeps the training from ending too early. Signals sent to it meanwhile are delivered when it continues.
    daemon.manager.send_signal(before.pid, signal.SIGSTOP)
    daemon.kill()
    daemon.manager.systemctl("restart", SERVICE)
    daemon.manager.daemon_reload()
    daemon.manager.kill_bus()
    daemon.manager.daemon_reexec()
    assert daemon.job("my-lora").runtime.attempt == before, "it noticed"
    daemon.manager.send_signal(before.pid, signal.SIGCONT)
    job = daemon.wait("my-lora", State.COMPLETED)
    assert job.runtime.attempt is not None
    assert job.runtime.attempt.number == 1
    assert tensors(daemon.folder("my-lora") / "my-lora.safetensors") == undisturbed

    # The daemon has reconnected to systemd: the next job runs, too.
    daemon.submit(context("next", model, epochs=1))
    daemon.wait("next", State.COMPLETED)


def test_promise_1_a_daemon_that_hangs_is_restarted_by_its_watchdog(user_manager: UserManager, model: Path) -> None:
    daemon = InstalledDaemon(user_manager, drop_in="[Service]\nWatchdogSec=12\n")
    daemon.submit(context("my-lora", model))
    daemon.reach("my-lora", 2)
    attempt = daemon.job("my-lora").runtime.attempt
    before = daemon.pid
    user_manager.systemctl("kill", "--kill-whom=main", "--signal=STOP", SERVICE)
    daemon.wait_for_another(before)
    assert daemon.manager.show(SERVICE, "NRestarts") == "1"
    after = daemon.wait("my-lora", State.COMPLETED).runtime.attempt
    assert attempt is not None
    assert after is not None
    assert after.number == attempt.number


def test_promise_2_the_exit_of_a_job_that_ended_while_the_daemon_was_stopped_is_kept(
    daemon: InstalledDaemon, model: Path
) -> None:
    daemon.submit(context("my-lora", model, epochs=1000))
    attempt = daemon.wait_for_step("my-lora", 2).runtime.attempt
    assert attempt is not None
    assert attempt.pid is not None
    daemon.manager.systemctl("stop", SOCKET, SERVICE)
    daemon.manager.send_signal(attempt.pid, signal.SIGSEGV)
    daemon.manager.systemctl("start", SOCKET, SERVICE)
    ended = daemon.wait("my-lora", State.FAILED).runtime.attempt
    assert ended is not None
    assert ended.exit is not None
    assert (ended.exit.kind, ended.exit.signal) == (ExitKind.SIGNALED, 11)


def test_a_stopped_job_leaves_nothing_of_its_scope(daemon: InstalledDaemon, model: Path) -> None:
    daemon.submit(context("my-lora", model, epochs=1000))
    daemon.wait_for_step("my-lora", 2)
    group = daemon.manager.group_of_unit(daemon.unit_of("my-lora"))
    daemon.call(m.STOP, m.StopParameters(name="my-lora"))
    stopped = daemon.wait("my-lora", State.STOPPED)
    assert stopped.runtime.steps_lost == 0
    until(lambda: not group.exists(), what="the cgroup to go")


def test_a_scope_that_was_stopped_by_hand_is_a_stopped_job(daemon: InstalledDaemon, model: Path) -> None:
    daemon.submit(context("my-lora", model, epochs=1000))
    daemon.wait_for_step("my-lora", 2)
    daemon.manager.systemctl("stop", daemon.unit_of("my-lora"))
    job = daemon.wait("my-lora", State.STOPPED)
    assert job.runtime.reason == "Its scope was stopped from outside FluxGym."


def test_promise_5_at_the_end_of_the_user_manager_a_job_saves_and_the_next_manager_resumes_it(
    daemon: InstalledDaemon, model: Path, undisturbed: dict[str, bytes]
) -> None:
    daemon.submit(context("my-lora", model))
    daemon.reach("my-lora", 2)
    # The job's scope is ordered after the daemon's service, so the job gets SIGTERM first and has time to save.
    daemon.manager.exit()
    daemon.manager.start()
    daemon.manager.systemctl("start", SOCKET, SERVICE)
    job = daemon.wait("my-lora", State.COMPLETED)
    assert job.runtime.steps_lost == 0
    outcomes = [event["outcome"] for event in daemon.events("my-lora") if event["event"] == "ended"]
    assert outcomes == ["interrupted", "completed"]
    assert tensors(daemon.folder("my-lora") / "my-lora.safetensors") == undisturbed


def test_a_client_is_never_refused_while_the_daemon_restarts(daemon: InstalledDaemon) -> None:
    """The socket belongs to systemd and outlives the daemon, so a client waits instead of failing. A client that the
    old daemon has accepted but not answered is passed on to the next one; that was 1 client of 15."""
    for _ in range(25):
        daemon.manager.systemctl("restart", "--no-block", SERVICE)
        assert daemon.info().version
    daemon.manager.systemctl("stop", SERVICE)
    assert daemon.socket.exists()
    assert daemon.info().version, "the socket starts the daemon"
