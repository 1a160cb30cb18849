# SPDX-License-Identifier: Apache-2.0
"""Reads from /proc/PID/fdinfo (proc(5)) how far a process has come in the large files that it has open.

/proc/PID/io counts only bytes from storage devices, NFS and CIFS. It does not show reads from the page cache or from
FUSE, which the volumes of many rented machines use; but the file's position moves. The files themselves are never
accessed, because their volume may hang.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

LARGE = 1 << 20
"""Bytes. A position of this or more means a large file. Configurations, status files and scripts are smaller."""
MOST_FILES = 1024
"""Open files per process that are examined, so that a look stays cheap."""
NO_FILES = ("/proc/", "/sys/", "/dev/", "/memfd:")
"""Paths that are not files on a volume. Reads there come from the kernel or from memory, and may never end."""

Positions = Mapping[tuple[int, str], int]
"""The position in bytes of each file, by descriptor and path."""


class FileProgress:
    """The number of bytes by which one process has advanced in large files. It only grows."""

    def __init__(self) -> None:
        self._last: Positions | None = None
        self.bytes = 0
        """Since the first look."""

    def move_to(self, now: Positions) -> None:
        """Adds the advance since the last look. A file that was opened since then counts from its start."""
        if self._last is not None:
            self.bytes += sum(max(0, position - self._last.get(file, 0)) for file, position in now.items())
        self._last = now


def positions(pid: int) -> Positions:
    """The position in each large file that a process has open. Raises OSError if the process has ended or belongs to
    another user."""
    found = {}
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in islice(entries, MOST_FILES):
            with suppress(OSError, KeyError, ValueError):  # closed meanwhile
                path = os.readlink(entry.path)
                if not path.startswith("/") or path.startswith(NO_FILES):  # or a pipe, a socket
                    continue
                position = _position(Path(f"/proc/{pid}/fdinfo/{entry.name}"))
                if position >= LARGE:
                    found[int(entry.name), path] = position
    return found


def _position(info: Path) -> int:
    """The position from a fdinfo file; 0 for a folder, whose positions are not bytes."""
    fields = dict(line.split(":", 1) for line in info.read_text().splitlines()[:2])
    return 0 if int(fields["flags"], 8) & os.O_DIRECTORY else int(fields["pos"])
