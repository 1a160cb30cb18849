# SPDX-License-Identifier: Apache-2.0
"""The free space that this user can write to. File systems reserve a part for root alone, ext4 5 %."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class FreeSpace:
    free: int
    """Bytes."""
    size: int
    """Bytes of the whole disk."""
    files: int
    """Files (inodes) that the file system can hold in total; 0 if it does not count them."""
    free_files: int


def room(path: Path) -> FreeSpace:
    """The free space on the disk that holds `path`. Raises OSError if it is unknown. Blocks."""
    return room_of(os.statvfs(path), root=os.geteuid() == 0)


def room_of(disk: os.statvfs_result, *, root: bool) -> FreeSpace:
    return FreeSpace(
        size=disk.f_blocks * disk.f_frsize,
        free=(disk.f_bfree if root else disk.f_bavail) * disk.f_frsize,
        files=disk.f_files,
        free_files=disk.f_ffree if root else disk.f_favail,
    )
