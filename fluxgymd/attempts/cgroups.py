# SPDX-License-Identifier: Apache-2.0
"""Facts from the cgroup2 file system, which can be read even while the service manager and the bus are away."""

import contextlib
import errno
from pathlib import Path


def tree() -> Path | None:
    """The mount point of cgroup2; None on a machine that has only cgroup v1."""
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])  # proc(5): the mount point
    return None


def directory(group: str) -> Path:
    """The directory of the cgroup with this name (as in /proc/PID/cgroup). Raises OSError where cgroup2 is not
    mounted."""
    mounted = tree()
    if mounted is None:
        raise FileNotFoundError("cgroup2 is not mounted on this machine")
    return mounted / group.lstrip("/")


def populated(group: str) -> bool | None:
    """Whether a process lives in the cgroup or below it. False if the cgroup is gone; None if that is not known."""
    try:
        text = (directory(group) / "cgroup.events").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False if tree() is not None else None
    except OSError as error:
        # ENODEV: the cgroup was removed between the open and the read.
        return False if error.errno == errno.ENODEV else None
    return "populated 1" in text.splitlines()


def thaw(group: str) -> None:
    """Lets frozen processes run again, so that they can handle a signal. Errors are ignored."""
    with contextlib.suppress(OSError):
        (directory(group) / "cgroup.freeze").write_text("0")


def own_service(text: str) -> str | None:
    """The name of the service that a process runs in; None in a session or a scope. `text`: its /proc/PID/cgroup."""
    group = next((line[3:] for line in text.splitlines() if line.startswith("0::")), "")
    unit = group.rpartition("/")[2]
    return unit if unit.endswith(".service") and not unit.startswith("user@") else None
