# SPDX-License-Identifier: Apache-2.0
"""What the cgroup2 tree says, read without asking anybody: it is there also when the manager and the bus are not."""

import contextlib
import errno
from pathlib import Path


def tree() -> Path | None:
    """Where cgroup2 is mounted; None on a machine with cgroup v1 alone."""
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])  # proc(5): the mount point
    return None


def directory(group: str) -> Path:
    """Where the cgroup of this name (as in /proc/PID/cgroup) is. OSError where there is no cgroup2."""
    mounted = tree()
    if mounted is None:
        raise FileNotFoundError("cgroup2 is not mounted on this machine")
    return mounted / group.lstrip("/")


def populated(group: str) -> bool | None:
    """Whether a process lives in it or below it. A cgroup that is gone has none. None: it cannot be told."""
    try:
        text = (directory(group) / "cgroup.events").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False if tree() is not None else None
    except OSError as error:
        # It was removed between the opening and the reading.
        return False if error.errno == errno.ENODEV else None
    return "populated 1" in text.splitlines()


def thaw(group: str) -> None:
    """Lets frozen processes run again, so that they can see a signal."""
    with contextlib.suppress(OSError):
        (directory(group) / "cgroup.freeze").write_text("0")


def own_service(text: str) -> str | None:
    """The service that a process runs in, from the text of its /proc/PID/cgroup; None in a session or a scope."""
    group = next((line[3:] for line in text.splitlines() if line.startswith("0::")), "")
    unit = group.rpartition("/")[2]
    return unit if unit.endswith(".service") and not unit.startswith("user@") else None
