# SPDX-License-Identifier: Apache-2.0
"""How much more of the host's memory this process can use, by the kernel's estimate and the limits of its cgroups.

A container or a unit may have far less than the machine. In both figures, cached pages of files count as free, since
the kernel can reclaim them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]

CGROUPS = Path("/sys/fs/cgroup")
# By cgroup version: the files with the limit and with the usage, and the lines of memory.stat that can be reclaimed.
FILES = {
    2: ("memory.max", "memory.current", ("inactive_file", "active_file")),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
}


def available() -> int:
    """Bytes of memory that are available: the smallest figure of the machine and of all cgroups."""
    left = [int(psutil.virtual_memory().available)]
    for version, folder in own_cgroups(Path("/proc/self/cgroup").read_text(encoding="ascii"), root=CGROUPS):
        if (room := room_in(folder, version=version)) is not None:
            left.append(room)
    return min(left)


def own_cgroups(text: str, *, root: Path) -> Iterator[tuple[int, Path]]:
    """(version, folder) of each cgroup that limits a process: its own ones and all above them. `text` is its
    /proc/PID/cgroup."""
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            version, top = 2, root
        elif "memory" in controllers.split(","):
            version, top = 1, root / "memory"
        else:
            continue
        own = top / path.lstrip("/")
        yield version, own
        for parent in own.parents:
            if not parent.is_relative_to(top):
                break
            yield version, parent


def room_in(folder: Path, *, version: int) -> int | None:
    """Bytes that a cgroup's limit leaves; None if there is no limit or no such folder."""
    limit, used, given_back = FILES[version]
    try:
        most = (folder / limit).read_text(encoding="ascii").strip()
        if most == "max":
            return None
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        taken = int((folder / used).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return max(0, int(most) - taken + sum(int(statistics.get(name, 0)) for name in given_back))
