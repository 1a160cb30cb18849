# SPDX-License-Identifier: Apache-2.0
"""Groups in the host's cgroup trees for the test bench. The test run that owns a group holds a lock on its directory.

Invariant: a group is removed by its owner or, if the owner was killed, by the next test run that makes a group. The
lock tells whether the owner lives, even to a run in another container, which sees the same tree but other pids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from tests.harness.waiting import until

PREFIX = "fluxgym-bench"

_locks: dict[Path, int] = {}
"""For each group of this run, a descriptor of its directory, which holds the lock."""


def cgroup2_tree() -> Path:
    """Where the host mounts cgroup2: at /sys/fs/cgroup or, if cgroup v1 is also in use, below it."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount_point, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(mount_point)
    raise RuntimeError("the test bench needs a cgroup2 tree, and none is mounted on this machine")


def make_group(tree: Path | None = None) -> Path:
    """Makes an empty group with an empty group `init` in it. `tree`: a cgroup v1 tree instead of cgroup2's."""
    tree = tree or cgroup2_tree()
    _sweep(tree)
    while True:
        group = tree / f"{PREFIX}-{secrets.token_hex(4)}"
        group.mkdir()
        lock = _lock(group)
        if lock is not None:
            _locks[group] = lock
            (group / "init").mkdir()
            return group


def _lock(group: Path) -> int | None:
    """Opens and locks the group's directory. Returns None if another run holds the lock or has removed the group."""
    try:
        directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(directory)
        return None
    if not group.exists():
        os.close(directory)
        return None
    return directory


def remove_group(group: Path, *, deadline_seconds: float = 60.0) -> None:
    """Removes a group and everything below it. Retries, as the kernel may release an empty group late."""
    until(lambda: _try_remove(group), what=f"{group} to be empty", deadline_seconds=deadline_seconds)
    if (lock := _locks.pop(group, None)) is not None:
        os.close(lock)


def processes_in(group: Path) -> list[int]:
    """The pids in a group and below it; empty if the group does not exist."""
    pids: list[int] = []
    for procs in group.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            pids += [int(line) for line in procs.read_text().split()]
    return pids


def move_all(group: Path, target: Path) -> None:
    """Moves every process of a group into another one, possibly of cgroup v1. Repeats until none is missing, since a
    process may fork or end meanwhile."""
    until(lambda: _all_moved(group, target), what=f"the processes of {group} to be in {target}")


def _all_moved(group: Path, target: Path) -> bool:
    missing = set(processes_in(group)) - set(processes_in(target))
    for pid in missing:
        with contextlib.suppress(ProcessLookupError):
            (target / "cgroup.procs").write_text(str(pid))
    return not missing


def group_of(pid: int) -> Path:
    """The cgroup2 group of a process, as a path of the host's tree."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return cgroup2_tree() / line.removeprefix("0::").lstrip("/")
    raise RuntimeError(f"process {pid} is in no cgroup2 group")


def _try_remove(group: Path) -> bool:
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    return not group.exists()


def _sweep(tree: Path) -> None:
    """Removes the groups of test runs that were killed."""
    for group in tree.glob(f"{PREFIX}-*"):
        lock = _lock(group)
        if lock is not None:
            _try_remove(group)
            os.close(lock)
