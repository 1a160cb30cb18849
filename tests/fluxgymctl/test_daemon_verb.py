# SPDX-License-Identifier: Apache-2.0
"""`fluxgymctl daemon start|stop|restart` on the real units in a real user manager, while a job trains."""

import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from fluxgym.protocol.messages import State
from tests.daemon.installed import SERVICE, SOCKET, InstalledDaemon
from tests.daemon.running import ROOT
from tests.harness.user_manager import UserManager

pytestmark = pytest.mark.systemd


@pytest.fixture
def installed(user_manager: UserManager) -> Iterator[InstalledDaemon]:
    daemon = InstalledDaemon(user_manager)
    yield daemon
    user_manager.systemctl("start", SOCKET, SERVICE)
    daemon.end_jobs()


def ctl(daemon: InstalledDaemon, *words: str) -> CompletedProcess[str]:
    """Runs the client that belongs to the daemon, with the manager's settings and no others."""
    command = [sys.executable, "-m", "fluxgymctl", *words]
    return daemon.manager.run(command, env={"PYTHONPATH": str(ROOT)}, check=False)


def active(daemon: InstalledDaemon) -> tuple[str, str]:
    return daemon.manager.show(SOCKET, "ActiveState"), daemon.manager.show(SERVICE, "ActiveState")


def test_promise_1_the_daemon_is_stopped_started_and_restarted_beside_a_running_job(
    installed: InstalledDaemon, spec: Path
) -> None:
    assert ctl(installed, "submit", "a", "--file", str(spec), "--epochs", "40").stdout == "a\n"
    attempt = installed.wait_for_step("a", 1).runtime.attempt

    stopped = ctl(installed, "daemon", "stop")
    assert (stopped.returncode, stopped.stdout) == (0, ""), stopped.stderr
    assert "running jobs continue" in stopped.stderr
    assert active(installed) == ("inactive", "inactive"), "the next client would start it again"
    listed = ctl(installed, "list")
    assert (listed.returncode, listed.stdout) == (6, "")
    assert "No daemon answers" in listed.stderr
    assert len(installed.running_scopes()) == 1

    assert ctl(installed, "daemon", "start").returncode == 0
    assert active(installed) == ("active", "active")
    before = installed.pid
    assert ctl(installed, "daemon", "restart").returncode == 0
    assert installed.pid not in (0, before)

    job = installed.job("a")
    assert (job.runtime.state, job.runtime.attempt) == (State.RUNNING, attempt)
    assert ctl(installed, "stop", "a").returncode == 0
    assert ctl(installed, "wait", "a").returncode == 11


def test_the_message_of_systemctl_is_shown(installed: InstalledDaemon) -> None:
    unit = installed.manager.home / ".config/systemd/user" / SERVICE
    ctl(installed, "daemon", "stop")
    unit.unlink()
    installed.manager.daemon_reload()
    failed = ctl(installed, "daemon", "restart")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith(f"fluxgymctl: systemctl --user restart {SERVICE} failed: ")
    assert failed.stderr.count("\n") == 1
    unit.symlink_to(ROOT / "units" / SERVICE)
    installed.manager.daemon_reload()


def test_a_daemon_other_than_the_installed_one_is_left_alone(installed: InstalledDaemon) -> None:
    refused = ctl(installed, "--socket", "/elsewhere/s", "daemon", "stop")
    assert refused.returncode == 1
    assert "not on the one at /elsewhere/s" in refused.stderr
    assert active(installed) == ("active", "active")
