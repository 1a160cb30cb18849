# SPDX-License-Identifier: Apache-2.0
"""A file that a job appends to, read in pieces as it grows. A job may write anything there, in lines of any length.

Reading takes bounded time and memory: of a large piece only the end is read, and a line that never ends is skipped.
If the file is not the one that the attempt began with (an editor saved a copy, logrotate moved it), it says nothing
about the attempt, which still writes to the old file. `problem` reports that, and what was read before stays.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fluxgym.files import open_file, open_for_reading

MOST_BYTES = 4 << 20
"""The most that one look reads: the newest 4 MiB of what is new. Our trainer writes at most 2 kB a second."""
CHUNK_BYTES = 1 << 18
LONGEST_LINE = 1 << 16
"""Bytes. No line in which a trainer reports something is this long."""


@dataclass(frozen=True, slots=True)
class End:
    """Where an attempt begins to append."""

    inode: int
    size: int


def end_of(path: Path) -> End:
    """The end of a file. Creates the file if it does not exist, so that the file that the attempt writes to is known.
    OSError; NotAFile if something other than a file has this name. Blocks on the disk."""
    descriptor = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        facts = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return End(inode=facts.st_ino, size=facts.st_size)


class Appended:
    """Reads what an attempt appends to a file, by lines. Blocks on the disk."""

    def __init__(self, path: Path, offset: int, *, inode: int | None, ends: "re.Pattern[bytes]") -> None:
        """`offset`: where to begin. `inode`: that of the file that the attempt writes to; if it was not recorded
        (None), the first file that is seen counts as that file. `ends`: matches the end of a line."""
        self._path = path
        self._offset = offset
        self._inode = inode
        self._ends = ends
        self._unended: bytes | None = b""
        """The beginning of a line that has not ended yet; None if it is too long, so that its rest is skipped too."""
        self.modified_at = 0.0
        """When the file was last written (wall clock), as of the last look."""
        self.problem: str | None = None
        """Why nothing can be read, as a clause; None if it can."""

    @property
    def unended(self) -> bytes:
        """What follows the end of the last line; empty if that is too long."""
        return self._unended or b""

    def lines(self) -> Iterator[bytes]:
        """The lines that ended since the last look, without their line ends."""
        self.problem = None
        try:
            with open_for_reading(self._path) as file:
                facts = os.fstat(file.fileno())
                if self._inode is None:
                    self._inode = facts.st_ino
                if facts.st_ino != self._inode:
                    self.problem = f"{self._path.name} was replaced by another file"
                    return
                self.modified_at = facts.st_mtime
                yield from self._new_lines(file, facts.st_size)
        except FileNotFoundError:
            if self._inode is not None:  # otherwise the trainer may not have created it yet
                self.problem = f"{self._path.name} is missing"
        except OSError as error:
            self.problem = f"{self._path.name} cannot be read: {error.strerror or error}"

    def _new_lines(self, file: BinaryIO, size: int) -> Iterator[bytes]:
        if size < self._offset:
            # The file was emptied (`> training.log`, logrotate's copytruncate): what it holds now may be older.
            self._offset, self._unended = size, b""
        if size - self._offset > MOST_BYTES:
            self._offset, self._unended = size - MOST_BYTES, None
        file.seek(self._offset)
        while self._offset < size and (data := file.read(min(CHUNK_BYTES, size - self._offset))):
            self._offset += len(data)
            first, *others = self._ends.split(data)
            if not others:
                self._begin(None if self._unended is None else self._unended + first)
                continue
            *whole, last = others
            if self._unended is not None:
                whole.insert(0, self._unended + first)
            self._begin(last)
            yield from (line for line in whole if len(line) <= LONGEST_LINE)

    def _begin(self, unended: bytes | None) -> None:
        self._unended = unended if unended is not None and len(unended) <= LONGEST_LINE else None
