# SPDX-License-Identifier: Apache-2.0
"""The free space of a disk, for root and for other users."""

import os
from pathlib import Path

import pytest

from fluxgymd.store.room import FreeSpace, room, room_of
from tests.store.small_disk import PAGE, fill, small_disk

# An ext4 of 1000 blocks of 4 KiB, 50 of which are reserved for root; nothing is left for others (statvfs(3)).
EXT4 = os.statvfs_result((4096, 4096, 1000, 50, 0, 200, 20, 10, 0, 255))


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (True, FreeSpace(free=50 * 4096, size=1000 * 4096, files=200, free_files=20)),
        (False, FreeSpace(free=0, size=1000 * 4096, files=200, free_files=10)),
    ],
)
def test_blocks_reserved_for_root_are_free_only_for_root(root: bool, expected: FreeSpace) -> None:
    assert room_of(EXT4, root=root) == expected


def test_a_real_disk_fills_up(tmp_path: Path) -> None:
    with small_disk(tmp_path, pages=8) as disk:
        assert 0 < room(disk).free <= 8 * PAGE
        fill(disk)
        assert room(disk).free == 0
