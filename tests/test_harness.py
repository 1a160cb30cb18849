# SPDX-License-Identifier: Apache-2.0
"""Tests of the test bench: its systems are real, they hide nothing from the tests, and they leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.running import whole_lines
from tests.harness import cgroups
from tests.harness.booted_machine import BootedMachine
from tests.harness.user_manager import UserManager
from tests.harness.waiting import DEADLINE_SECONDS, until, until_async


def start_scope(manager: UserManager, unit: str, pid: int) -> None:
    """Creates a scope around a process with StartTransientUnit through busctl, as the daemon does."""
    pid_inside = Path(f"/proc/{pid}/status").read_text().split("NSpid:")[1].splitlines()[0].split()[-1]
    target = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    scope = [unit, "fail", "1", "PIDs", "au", "1", pid_inside, "0"]
    manager.run(["busctl", "--user", "call", *target, "StartTransientUnit", "ssa(sv)a(sa(sv))", *scope])
    until(lambda: unit in cgroups.group_of(pid).name, what=f"process {pid} to be in {unit}")


def sleeper(manager: UserManager) -> tuple[subprocess.Popen[str], int]:
    """Starts `sleep` in the namespace. Returns the process that entered it, and the pid of `sleep` outside it."""
    process = manager.popen(["sleep", "infinity"])
    own = until(
        lambda: next((pid for pid in _children(process.pid) if _name(pid) == "sleep"), None), what="the sleeper"
    )
    return process, own


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_waiting_ends_with_the_value_or_with_what_was_waited_for() -> None:
    values = iter([None, 0, "there"])
    assert until(lambda: next(values), what="a value") == "there"
    with pytest.raises(AssertionError, match=r"waited 0 s for a value; last seen: None"):
        until(lambda: None, what="a value", deadline_seconds=0)


def test_waiting_for_an_awaitable_does_the_same() -> None:
    values = iter([None, "there"])

    async def condition() -> str | None:
        return next(values, None)

    assert asyncio.run(until_async(condition, what="a value")) == "there"
    with pytest.raises(AssertionError, match=r"waited 0 s for a value; last seen: None"):
        asyncio.run(until_async(condition, what="a value", deadline_seconds=0))


def test_only_complete_lines_of_a_file_that_is_being_written_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes('{"event": "ended", "reason": "a\u2028b"}\n{"event": "sub'.encode())
    assert whole_lines(path) == [{"event": "ended", "reason": "a\u2028b"}]


@pytest.mark.systemd
def test_a_scope_is_created_by_the_manager_and_outlives_bus_and_manager(user_manager: UserManager) -> None:
    process, pid = sleeper(user_manager)
    start_scope(user_manager, "harness.scope", pid)
    assert cgroups.processes_in(user_manager.group_of_unit("harness.scope")) == [pid]

    user_manager.kill_bus()
    assert "org.freedesktop.systemd1" in user_manager.run(["busctl", "--user", "list"]).stdout
    user_manager.daemon_reload()
    user_manager.daemon_reexec()
    assert user_manager.show("harness.scope", "ActiveState") == "active"

    first = user_manager.pid
    user_manager.kill()
    assert process.poll() is None
    user_manager.start()
    assert user_manager.pid != first
    assert process.poll() is None


@pytest.mark.systemd
def test_a_group_that_forks_all_the_time_is_moved_completely() -> None:
    group, target = cgroups.make_group(), cgroups.make_group()
    joins = f"echo 0 >{group}/init/cgroup.procs; while :; do sleep 0.001 & sleep 0.001; done"
    process = subprocess.Popen(["/bin/sh", "-c", joins])
    try:
        until(lambda: cgroups.processes_in(group), what="the shell to be in its group")
        cgroups.move_all(group, target / "init")
        until(lambda: not cgroups.processes_in(group), what="the group to be empty")
        assert process.pid in cgroups.processes_in(target)
    finally:
        process.kill()
        process.wait(DEADLINE_SECONDS)
    cgroups.remove_group(group)
    cgroups.remove_group(target)


def test_a_command_ends_as_if_it_had_run_here(user_manager: UserManager) -> None:
    assert user_manager.run(["sh", "-c", "exit 7"], check=False).returncode == 7
    assert user_manager.run(["sh", "-c", "kill -USR1 $$"], check=False).returncode == -signal.SIGUSR1
    missing = user_manager.run(["no-such-command"], check=False)
    assert (missing.returncode, missing.stderr) == (127, "no-such-command: No such file or directory\n")
    assert user_manager.run(["cat"], input_text="in and out\n").stdout == "in and out\n"
    with pytest.raises(AssertionError, match="ended with 3\nsaid so"):
        user_manager.run(["sh", "-c", "echo said so; exit 3"])


@pytest.mark.systemd
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_reaches_the_command(user_manager: UserManager, number: signal.Signals) -> None:
    process, pid = sleeper(user_manager)
    process.send_signal(number)
    assert process.wait(timeout=DEADLINE_SECONDS) == -number
    group = user_manager.namespace.group
    until(lambda: pid not in cgroups.processes_in(group), what="the sleeper to be gone")


@pytest.mark.systemd
def test_a_service_gets_the_bus_and_the_paths_of_the_outside(user_manager: UserManager) -> None:
    told = user_manager.directory / "told"
    script = "echo $XDG_RUNTIME_DIR; echo $DBUS_SESSION_BUS_ADDRESS; echo $HOME"
    systemd_run = ["systemd-run", "--user", "--quiet", "--wait", f"--property=StandardOutput=file:{told}"]
    user_manager.run([*systemd_run, "sh", "-c", script])
    run = user_manager.runtime_directory
    assert told.read_text().splitlines() == [str(run), f"unix:path={run}/bus", str(user_manager.home)]


@pytest.mark.systemd
def test_a_command_that_leaves_a_process_on_its_pipe_is_given_up_at_its_limit(user_manager: UserManager) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        user_manager.run(["sh", "-c", "sleep infinity & exit 0"], timeout=0.5)


@pytest.mark.systemd
def test_nothing_is_left_behind() -> None:
    mounts = Path("/proc/self/mounts").read_text()
    with UserManager() as manager:
        _, pid = sleeper(manager)
        start_scope(manager, "left.scope", pid)
        manager.run(["sh", "-c", "trap '' TERM; sleep infinity > /dev/null 2>&1 & exit 0"])
        pids = cgroups.processes_in(manager.namespace.group)
        assert pid in pids
    assert not manager.namespace.group.exists()
    assert not manager.directory.exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert Path("/proc/self/mounts").read_text() == mounts


@pytest.mark.systemd
def test_nothing_keeps_running_when_the_test_run_is_killed(tmp_path: Path) -> None:
    program = (
        "import signal; from tests.harness.user_manager import UserManager\n"
        "manager = UserManager().__enter__(); manager.popen(['sleep', 'infinity'])\n"
        "print(manager.namespace.group, manager.directory, flush=True); signal.pause()\n"
    )
    root = Path(__file__).resolve().parent.parent
    run = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert run.stdout is not None
    group = Path(run.stdout.readline().split()[0])
    assert cgroups.processes_in(group)
    run.kill()
    run.communicate(timeout=DEADLINE_SECONDS)
    until(lambda: not cgroups.processes_in(group), what="the processes of the killed run to be gone")
    cgroups.remove_group(cgroups.make_group())  # the next run sweeps the empty groups away
    assert not group.exists()


@pytest.mark.systemd
def test_a_run_in_another_container_leaves_the_groups_of_this_one_alone(checkout: Path) -> None:
    group = cgroups.make_group()
    program = "from tests.harness import cgroups; cgroups.remove_group(cgroups.make_group())"
    elsewhere = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program]
    subprocess.run(elsewhere, cwd=checkout, check=True, timeout=DEADLINE_SECONDS)
    assert group.exists()
    cgroups.remove_group(group)
    assert not group.exists()


@pytest.mark.booted
def test_a_machine_boots_reboots_and_loses_its_power_with_its_disk_kept(booted_machine: BootedMachine) -> None:
    boots = [booted_machine.boot_id()]
    booted_machine.run(["sh", "-c", "echo orderly > /var/kept"])
    booted_machine.reboot()
    boots.append(booted_machine.boot_id())
    assert booted_machine.run(["cat", "/var/kept"]).stdout == "orderly\n"

    booted_machine.run(["sh", "-c", "echo cut > /var/kept"])
    leader = booted_machine.leader
    booted_machine.crash()
    assert not Path(f"/proc/{leader}").exists()
    assert (booted_machine.root / "var/kept").read_text() == "cut\n"  # the disk can be read while the machine is down
    booted_machine.up()
    boots.append(booted_machine.boot_id())
    assert booted_machine.run(["cat", "/var/kept"]).stdout == "cut\n"
    assert len(set(boots)) == 3


@pytest.mark.booted
def test_an_ordinary_user_has_a_manager_a_journal_and_the_checkout(
    booted_machine: BootedMachine, checkout: Path
) -> None:
    uid = booted_machine.add_user("alice")
    assert uid >= 1000  # journald keeps separate journals only for ordinary users
    # The process must not exit: a busy journald cannot find the unit of a process that has gone.
    says = ["sh", "-c", "echo said by alice; exec sleep infinity"]
    booted_machine.run(["systemd-run", "--user", "--unit=said", *says], user="alice")
    read = ["journalctl", "--user", "--unit=said", "--output=cat"]
    until(
        lambda: "said by alice\n" in booted_machine.run(read, user="alice").stdout, what="alice's line in the journal"
    )
    assert booted_machine.run(["journalctl", "--user", "--unit=said"], user="nobody", check=False).stdout == ""
    assert booted_machine.run([sys.executable, "-c", "import msgspec"], user="alice").stderr == ""
    assert (
        booted_machine.run(["cat", checkout / "LICENSE"], user="alice").stdout == (checkout / "LICENSE").read_text()
    )

    booted_machine.reboot()
    booted_machine.wait_for_user("alice")  # through linger, since nobody has logged in
    assert "said by alice\n" in booted_machine.run(read, user="alice").stdout


@pytest.mark.booted
def test_a_machine_leaves_nothing_behind_and_the_host_unchanged() -> None:
    mounts = Path("/proc/self/mounts").read_text()
    with BootedMachine() as machine:
        machine.run(["sh", "-c", "echo harm > /etc/motd; touch /var/made-by-a-test"])
        pids = cgroups.processes_in(machine.namespace.group)
        assert machine.leader in pids
    assert not Path("/var/made-by-a-test").exists()
    assert not machine.namespace.group.exists()
    assert not machine.directory.exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert Path("/proc/self/mounts").read_text() == mounts
