# SPDX-License-Identifier: Apache-2.0
"""Groups in the host's cgroup2 tree for the test bench. A group is named after the test run that owns it.

Invariant: a group is removed by its owner, or, where that was killed, by the next test run that makes one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path

from tests.harness.waiting import until

PREFIX = "fluxgym-test"

_numbers = itertools.count(1)


def cgroup2_tree() -> Path:
    """Where the host mounts cgroup2: /sys/fs/cgroup, or below it where cgroup v1 is still used beside it."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount_point, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(mount_point)
    raise RuntimeError("the test bench needs a cgroup2 tree, and none is mounted on this machine")


def make_group() -> Path:
    """Makes an empty group with a leaf `init` in it."""
    tree = cgroup2_tree()
    _sweep(tree)
    group = tree / f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
    (group / "init").mkdir(parents=True)
    return group


def remove_group(group: Path, *, deadline_seconds: float = 60.0) -> None:
    """Removes a group with all below it. The kernel may take a moment to let go of a group that has just emptied."""
    until(lambda: _try_remove(group), what=f"{group} to be empty", deadline_seconds=deadline_seconds)


def processes_in(group: Path) -> list[int]:
    """The pids in a group and below it; empty if it does not exist."""
    pids: list[int] = []
    for procs in group.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            pids += [int(line) for line in procs.read_text().split()]
    return pids


def group_of(pid: int) -> Path:
    """The group that a process is in, as a path of the host's tree."""
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
    """Removes the groups of test runs that were killed before they could."""
    for group in tree.glob(f"{PREFIX}-*"):
        owner = group.name.split("-")[2]
        if not Path(f"/proc/{owner}").exists():
            _try_remove(group)
