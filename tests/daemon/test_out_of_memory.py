# SPDX-License-Identifier: Apache-2.0
"""The kernel kills a trainer for want of memory: that is its end, and nobody else's."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.messages import Context, ExitKind, FailureKind, Kind, State
from tests.daemon.installed import SERVICE, SOCKET, InstalledDaemon
from tests.harness import cgroups
from tests.harness.user_manager import UserManager
from tests.harness.waiting import until

pytestmark = pytest.mark.systemd

LIMIT = 64 * 1024 * 1024
GREEDY = "while [ ! -e {go} ]; do sleep 0.05; done; exec /usr/bin/python3 -c 'bytearray(1 << 30)'"
MODEST = """while [ ! -e {go} ]; do sleep 0.05; done; echo '{{"files": []}}' >result.json"""


@pytest.fixture
def daemon(user_manager: UserManager) -> Iterator[InstalledDaemon]:
    daemon = InstalledDaemon(user_manager)
    yield daemon
    daemon.end_jobs()
    user_manager.systemctl("stop", SOCKET, SERVICE)


@contextlib.contextmanager
def little_memory(daemon: InstalledDaemon, unit: str) -> Iterator[bool]:
    """A limit for all processes of a unit; whether it is cgroup2's, which counts the kernel's kills in it.

    On a host that still has cgroup v1 the controller is there, and a group of that tree does what MemoryMax= would.
    """
    group = daemon.manager.group_of_unit(unit)
    daemon.manager.systemctl("set-property", "--runtime", unit, f"MemoryMax={LIMIT}", "MemorySwapMax=0")
    if (group / "memory.max").exists():
        yield True
        return
    limited = memory_tree() / f"{cgroups.PREFIX}-{group.parent.parent.name}-memory"
    limited.mkdir()
    (limited / "memory.limit_in_bytes").write_text(str(LIMIT))
    with contextlib.suppress(FileNotFoundError):  # only where the kernel counts swap
        (limited / "memory.memsw.limit_in_bytes").write_text(str(LIMIT))
    for pid in cgroups.processes_in(group):
        (limited / "cgroup.procs").write_text(str(pid))
    yield False
    until(lambda: not (limited / "cgroup.procs").read_text(), what="the group to be empty")
    limited.rmdir()


def memory_tree() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount_point, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            return Path(mount_point)
    raise RuntimeError("this test needs the memory controller, of cgroup2 or of cgroup v1")


def test_promise_2_a_trainer_that_the_kernel_kills_for_memory(daemon: InstalledDaemon) -> None:
    for name, script in {"greedy": GREEDY, "modest": MODEST}.items():
        command = script.format(go=daemon.home / "go")
        daemon.submit(Context(name=name, kind=Kind.PROGRAM, program=["/bin/sh", "-c", command]))
        daemon.wait(name, State.RUNNING)
    pid = daemon.pid
    with little_memory(daemon, daemon.unit_of("greedy")) as counted:
        (daemon.home / "go").touch()
        runtime = daemon.wait("greedy", State.FAILED).runtime
    assert runtime.attempt is not None
    assert runtime.attempt.exit is not None, "its shim was killed too"
    assert (runtime.attempt.exit.kind, runtime.attempt.exit.signal) == (ExitKind.SIGNALED, signal.SIGKILL)
    assert runtime.failure is not None
    assert not counted or runtime.failure.kind is FailureKind.HOST_OUT_OF_MEMORY
    daemon.wait("modest", State.COMPLETED)
    assert daemon.pid == pid
