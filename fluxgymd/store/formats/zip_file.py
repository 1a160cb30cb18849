# SPDX-License-Identifier: Apache-2.0
"""Checks whether a ZIP file, such as those of torch.save and numpy.savez, is complete. Nothing is unpacked or
unpickled.

A ZIP's directory is at its end and gives the offset of each entry, so a torn file has none. A file with the directory
and the entries' own headers is complete as far as a quick check can tell.
"""

import io
import os
import zipfile
from pathlib import Path

from fluxgym.files import open_file

LOCAL_HEADER = b"PK\x03\x04"
DIRECTORY_BYTES = 1 << 20
"""The limit for the directory, enough for 15,000 entries. torch.save writes one entry for each tensor: a LoRA has up
to 1,500 tensors, and an optimizer keeps up to seven for each. An entry takes 10 us and a kilobyte of memory."""


class _Bounded(io.FileIO):
    """A file that reads at most DIRECTORY_BYTES at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its directory is larger than any that torch.save writes")
        return super().read(DIRECTORY_BYTES if size is None or size < 0 else size) or b""


def is_whole(path: Path) -> bool:
    """Whether the file is a complete ZIP. Raises OSError if the disk does not answer."""
    with _Bounded(open_file(path), "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OverflowError):
            return False
        return bool(entries) and all(
            os.pread(file.fileno(), len(LOCAL_HEADER), entry.header_offset) == LOCAL_HEADER for entry in entries
        )
