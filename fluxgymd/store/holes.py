# SPDX-License-Identifier: Apache-2.0
"""Finds holes in a file: ranges that take no space on the disk and read as NULs (lseek(2), SEEK_DATA).

A log that has grown too long has a hole (attempts/shim.py). Readers skip it, since it may be as large as a disk. If
the file system does not report holes, the complete file counts as data.
"""

import errno
import os
from pathlib import Path

from fluxgym.files import open_for_reading
from fluxgymd.core.disk.log_size import LogSize


def data_from(file: int, offset: int, *, size: int) -> int:
    """The offset at which the next data begin: `offset` itself, or the end of the hole at `offset`. Returns `size` if
    no more data follow."""
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else offset


def data_until(file: int, offset: int, *, size: int) -> int:
    """The offset at which the data at `offset` end: at the next hole, or at the end of the file."""
    try:
        return os.lseek(file, offset, os.SEEK_HOLE)
    except OSError:
        return size


def last_data(file: int, start: int, end: int) -> tuple[int, int]:
    """The start and end of the last range of data between `start` and `end`; (`end`, `end`) if there are no data."""
    begin, stop = end, end
    while (data := data_from(file, start, size=end)) < end:
        begin = data
        start = stop = min(end, data_until(file, data, size=end))
        if start == end:
            break
    return begin, stop


def log_size(path: Path) -> LogSize:
    """The sizes of a log; all zero if the file cannot be read. Blocks."""
    try:
        with open_for_reading(path) as file:
            descriptor = file.fileno()
            facts = os.fstat(descriptor)
            size = facts.st_size
            hole = data_until(descriptor, 0, size=size)
            missing = data_from(descriptor, hole, size=size) - hole if hole < size else 0
            # The shim measures it in the same way. The blocks may exceed the size, because XFS preallocates.
            return LogSize(size=size, taken=min(size, facts.st_blocks * 512), missing=missing)
    except OSError:
        return LogSize(size=0, taken=0, missing=0)
