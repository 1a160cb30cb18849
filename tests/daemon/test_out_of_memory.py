# SPDX-License-Identifier: Apache-2.0
"""The kernel kills a trainer for lack of memory: that ends its attempt, and nothing else."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.protocol.messages import ExitKind, FailureKind, State
from tests.daemon.installed import SERVICE, SOCKET, InstalledDaemon
from tests.daemon.running import program
from tests.harness import cgroups
from tests.harness.user_manager import UserManager

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
    """Limits the memory of all processes of a unit. Yields whether cgroup2 enforces the limit and so counts the
    kernel's kills.

    On a host that still uses cgroup v1 for memory, the processes move to a v1 group with the limit of MemoryMax=.
    """
    group = daemon.manager.group_of_unit(unit)
    daemon.manager.systemctl("set-property", "--runtime", unit, f"MemoryMax={LIMIT}", "MemorySwapMax=0")
    if (group / "memory.max").exists():
        yield True
        return
    limited = cgroups.make_group(memory_tree())
    (limited / "memory.limit_in_bytes").write_text(str(LIMIT))
    with contextlib.suppress(FileNotFoundError):  # exists only where the kernel accounts for swap
        (limited / "memory.memsw.limit_in_bytes").write_text(str(LIMIT))
    cgroups.move_all(group, limited)
    yield False
    cgroups.remove_group(limited)


def memory_tree() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount_point, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            return Path(mount_point)
    raise RuntimeError("this test needs the memory controller, of cgroup2 or of cgroup v1")


def test_promise_2_a_trainer_that_the_kernel_kills_for_memory_is_reported_as_such(daemon: InstalledDaemon) -> None:
    for name, script in {"greedy": GREEDY, "modest": MODEST}.items():
        command = script.format(go=daemon.home / "go")
        daemon.submit(program(name, command))
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
