# SPDX-License-Identifier: Apache-2.0
"""What can happen only to scopes: a frozen unit, and a manager or a bus that dies under a running attempt."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgymd.core.stop import KILL_MARGIN_SECONDS
from tests.attempts.conftest import NewDaemon
from tests.attempts.daemons import SAVES, STUBBORN, Attempt, Daemon, DaemonRefused, waits_for
from tests.harness.user_manager import UserManager
from tests.harness.waiting import DEADLINE_SECONDS, until

pytestmark = pytest.mark.systemd


@pytest.fixture
def kind() -> str:
    return "scope"


@pytest.fixture
def own_daemon(user_manager: UserManager) -> Iterator[Daemon]:
    """A daemon with its own user manager, which the test may break."""
    daemon = Daemon(user_manager, "scope")
    yield daemon
    daemon.close()


def test_the_scope_has_the_requested_properties(manager: UserManager, daemon: Daemon, signal_file: Path) -> None:
    attempt = daemon.start(waits_for(signal_file, then="exit 0"))
    attempt.wait_for_line("ready")
    wanted = {
        "Slice": "fluxgym.slice",
        "KillMode": "control-group",
        "CollectMode": "inactive-or-failed",
        "OOMPolicy": "continue",
        "TimeoutStopUSec": "11s",
        "Description": "FluxGym job test",
        "InvocationID": attempt.ref["placement"]["invocationId"],
        "ControlGroup": attempt.ref["placement"]["cgroup"],
    }
    assert {name: manager.show(attempt.unit, name) for name in wanted} == wanted
    assert attempt.record("started.json")["cgroup"] == attempt.ref["placement"]["cgroup"]
    assert manager.units()[attempt.unit] == "active"
    signal_file.touch()
    daemon.conclusion(attempt, "Exited")


@pytest.fixture
def freezer(user_manager: UserManager) -> UserManager:
    """systemd 252 tests on init.scope whether the kernel can freeze; a complete machine always has that scope."""
    user_manager.run(["mkdir", "-p", "/sys/fs/cgroup/init.scope"])
    user_manager.daemon_reexec()  # it has already checked
    return user_manager


def test_a_frozen_attempt_can_be_stopped_and_saves(freezer: UserManager, own_daemon: Daemon) -> None:
    attempt = own_daemon.start(SAVES)
    attempt.wait_for_line("ready")
    freezer.systemctl("freeze", attempt.unit)
    own_daemon.ask("stop", ref=attempt.ref)
    assert own_daemon.conclusion(attempt, "Exited")["exit"]["code"] == 143


def test_a_frozen_attempt_is_thawed(freezer: UserManager, own_daemon: Daemon) -> None:
    attempt = own_daemon.start("trap 'echo told' USR1; echo ready; while :; do sleep 0.02; done")
    attempt.wait_for_line("ready")
    freezer.systemctl("freeze", attempt.unit)
    assert own_daemon.ask("tell", ref=attempt.ref, number=signal.SIGUSR1)
    assert "told" not in attempt.log.read_text()
    own_daemon.ask("rouse", ref=attempt.ref)
    attempt.wait_for_line("told")


def test_a_frozen_attempt_can_be_killed(freezer: UserManager, own_daemon: Daemon) -> None:
    attempt = own_daemon.start(STUBBORN)
    attempt.wait_for_line("ready")
    freezer.systemctl("freeze", attempt.unit)
    own_daemon.ask("kill", ref=attempt.ref)
    assert own_daemon.conclusion(attempt, "Exited")["exit"]["signal"] == signal.SIGKILL


def test_systemd_kills_at_its_own_limit_if_no_daemon_is_there(manager: UserManager, new_daemon: NewDaemon) -> None:
    # systemd kills the shim too, so there may be no exit record; in that case none is made up.
    first = new_daemon(stop_limit=0.1 - KILL_MARGIN_SECONDS)
    attempt = first.start(STUBBORN)
    attempt.wait_for_line("ready")
    first.kill()
    manager.systemctl("stop", attempt.unit)
    seen = new_daemon().conclusion(attempt, "Exited")
    assert seen["exit"] is None or seen["exit"]["signal"] == signal.SIGKILL


def without_scope(manager: UserManager, daemon: Daemon) -> Attempt:
    """An attempt that has ended, and whose scope is gone."""
    attempt = daemon.start("exit 0")
    daemon.conclusion(attempt, "Exited")
    until(lambda: attempt.unit not in manager.units(), what="the scope to be gone")
    return attempt


def test_promise_6_a_foreign_unit_of_the_same_name_is_left_alone(manager: UserManager, daemon: Daemon) -> None:
    attempt = without_scope(manager, daemon)
    stranger = manager.popen(
        ["systemd-run", "--user", "--scope", "--slice=fluxgym.slice", f"--unit={attempt.unit}", "sleep", "1000"]
    )
    try:
        until(lambda: attempt.unit in manager.units(), what="the stranger's scope")
        assert manager.show(attempt.unit, "ControlGroup") == attempt.ref["placement"]["cgroup"]
        daemon.ask("stop", ref=attempt.ref)
        daemon.ask("kill", ref=attempt.ref)
        assert daemon.look(attempt)["conclusion"] == "Exited", "what lives there is somebody else's"
        assert manager.units()[attempt.unit] == "active"
        with pytest.raises(DaemonRefused, match=r"Refused: .* was not created"):
            daemon.start("exit 0", unit=attempt.unit)
        assert stranger.poll() is None
    finally:
        manager.systemctl("stop", attempt.unit)
        stranger.wait(timeout=DEADLINE_SECONDS)


LEAVES_A_ZOMBIE = "import os, signal; pid = os.fork() or os._exit(0); print(pid, flush=True); signal.pause()"


def test_the_empty_scope_of_an_attempt_that_never_started_is_cleared(
    user_manager: UserManager, own_daemon: Daemon
) -> None:
    """systemd 252 keeps a scope that was created for a zombie process; newer versions create none."""
    attempt = without_scope(user_manager, own_daemon)
    parent = user_manager.popen([sys.executable, "-c", LEAVES_A_ZOMBIE], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        ended = int(parent.stdout.readline())
        until(lambda: own_daemon.ask("state", pid=ended) == "Z", what="its child to end")
        assert own_daemon.ask("make_scope", unit=attempt.unit, pid=ended) == "done"
        assert user_manager.units()[attempt.unit] == "active", "there is nothing to clear"
        user_manager.kill_bus()  # as when it dies with the daemon before
        own_daemon.ask("clear", ref=attempt.ref)
        until(lambda: attempt.unit not in user_manager.units(), what="the empty scope to go")
    finally:
        parent.kill()
        parent.wait(timeout=DEADLINE_SECONDS)


def test_a_scope_with_a_process_in_it_is_not_cleared(daemon: Daemon, signal_file: Path) -> None:
    attempt = daemon.start(waits_for(signal_file, then="exit 42"))
    attempt.wait_for_line("ready")
    daemon.ask("clear", ref=attempt.ref)
    signal_file.touch()
    seen = daemon.conclusion(attempt, "Exited")["exit"]
    assert seen["code"] == 42


def started(daemon: Daemon, manager: UserManager, *, code: int) -> tuple[Attempt, Path]:
    """Starts an attempt that runs until a file exists; returns both."""
    file = manager.directory / f"go-{code}"
    attempt = daemon.start(waits_for(file, then=f"exit {code}"))
    attempt.wait_for_line("ready")
    return attempt, file


def test_promise_1_a_reload_and_a_reexec_change_nothing(own_daemon: Daemon, user_manager: UserManager) -> None:
    attempt, file = started(own_daemon, user_manager, code=42)
    for change in (user_manager.daemon_reload, user_manager.daemon_reexec):
        change()
        assert own_daemon.look(attempt)["conclusion"] == "Runs"
        another, its_file = started(own_daemon, user_manager, code=7)
        its_file.touch()
        assert own_daemon.conclusion(another, "Exited")["exit"]["code"] == 7
        its_file.unlink()
    own_daemon.ask("ping")
    file.touch()
    assert own_daemon.conclusion(attempt, "Exited")["exit"]["code"] == 42


def test_promise_1_the_death_of_the_bus_changes_nothing(own_daemon: Daemon, user_manager: UserManager) -> None:
    attempt, file = started(own_daemon, user_manager, code=42)
    before = user_manager.show("dbus.service", "MainPID")
    user_manager.systemctl("kill", "--signal=KILL", "dbus.service")
    # The daemon reconnects to the bus's socket, which starts another bus.
    until(lambda: user_manager.show("dbus.service", "MainPID") not in (before, "0"), what="another bus")
    assert own_daemon.look(attempt)["conclusion"] == "Runs"
    own_daemon.ask("ping")
    own_daemon.ask("connected")
    assert own_daemon.ask("problem") is None
    another, _ = started(own_daemon, user_manager, code=7)
    own_daemon.ask("stop", ref=another.ref)
    own_daemon.conclusion(another, "Exited")
    file.touch()
    assert own_daemon.conclusion(attempt, "Exited")["exit"]["code"] == 42


def test_promise_1_the_death_of_the_manager_ends_nothing(own_daemon: Daemon, user_manager: UserManager) -> None:
    attempt, file = started(own_daemon, user_manager, code=42)
    stubborn = own_daemon.start(STUBBORN)
    stubborn.wait_for_line("ready")
    saves = own_daemon.start(SAVES)
    saves.wait_for_line("ready")
    user_manager.kill()
    assert own_daemon.look(attempt)["conclusion"] == "Runs"
    assert "does not answer" in own_daemon.ask("problem")
    assert not own_daemon.ask("manager_stays")
    own_daemon.ask("stop", ref=saves.ref)  # without systemd, so the daemon itself sends the signals
    seen = own_daemon.conclusion(saves, "Exited")["exit"]
    assert (seen["code"], seen["termSeen"]) == (143, True)

    user_manager.start()
    until(lambda: own_daemon.ask("problem") is None, what="the new manager to answer")
    assert own_daemon.ask("manager_stays")
    assert own_daemon.look(attempt)["conclusion"] == "Runs"
    own_daemon.ask("stop", ref=stubborn.ref)  # the new manager does not know this unit
    assert own_daemon.conclusion(stubborn, "Exited")["exit"]["signal"] == signal.SIGKILL
    another, its_file = started(own_daemon, user_manager, code=7)
    its_file.touch()
    assert own_daemon.conclusion(another, "Exited")["exit"]["code"] == 7
    file.touch()
    assert own_daemon.conclusion(attempt, "Exited")["exit"]["code"] == 42
