# SPDX-License-Identifier: Apache-2.0
"""Holes of real files, found without reading them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgymd.core.disk.log_size import LogSize
from fluxgymd.store import holes
from tests.store.small_disk import preallocate

MIB = 1 << 20
TIB = 1 << 40


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """One MiB of data, a hole up to 1 TiB, one MiB of data, and a hole of one MiB."""
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, b"a" * MIB, 0)
    os.pwrite(descriptor, b"b" * MIB, TIB)
    os.ftruncate(descriptor, TIB + 2 * MIB)
    yield descriptor
    os.close(descriptor)


SIZE = TIB + 2 * MIB


@pytest.mark.parametrize(
    ("offset", "data", "end"),
    [
        (0, 0, MIB),
        (MIB - 1, MIB - 1, MIB),
        (MIB, TIB, None),
        (TIB - 1, TIB, None),
        (TIB, TIB, TIB + MIB),
        (TIB + MIB, SIZE, None),
    ],
)
def test_data_is_found_after_a_hole_and_ends_at_the_next(file: int, offset: int, data: int, end: int | None) -> None:
    assert holes.data_from(file, offset, size=SIZE) == data
    if end is not None:
        assert holes.data_until(file, offset, size=SIZE) == end


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (0, MIB, (0, MIB)),
        (10, 20, (10, 20)),
        (0, 2 * MIB, (0, MIB)),
        (2 * MIB, 3 * MIB, (3 * MIB, 3 * MIB)),
        (0, SIZE, (TIB, TIB + MIB)),
        (TIB - 5, TIB + 5, (TIB, TIB + 5)),
        (TIB + MIB, SIZE, (SIZE, SIZE)),
    ],
)
def test_the_last_data_of_a_range_is_found(file: int, start: int, end: int, found: tuple[int, int]) -> None:
    assert holes.last_data(file, start, end) == found


def test_the_length_of_a_log_its_disk_usage_and_its_holes_are_known(tmp_path: Path, file: int) -> None:
    os.fsync(file)
    assert holes.log_size(tmp_path / "file") == LogSize(size=SIZE, taken=2 * MIB, missing=TIB - MIB)
    os.ftruncate(file, MIB)
    assert holes.log_size(tmp_path / "file") == LogSize(size=MIB, taken=MIB, missing=0)
    (tmp_path / "empty").touch()
    for name in ("none", "empty"):
        assert holes.log_size(tmp_path / name) == LogSize(size=0, taken=0, missing=0)


def test_blocks_allocated_in_advance_do_not_count_as_the_logs(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x")
    with path.open("r+b") as log:
        preallocate(log.fileno(), 4 * MIB)
    assert path.stat().st_blocks * 512 >= 4 * MIB
    assert holes.log_size(path).taken == 1
