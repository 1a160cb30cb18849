# SPDX-License-Identifier: Apache-2.0
"""Tests of how far a process has read in large files, on this process, whose files the tests know."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fluxgymd.watchdog.positions import LARGE, FileProgress, positions

SIZE = 4 * LARGE


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(SIZE))
    return file


@contextmanager
def opened(path: Path | str, at: int = 0, flags: int = os.O_RDONLY) -> Iterator[int]:
    descriptor = os.open(path, flags)
    os.lseek(descriptor, at, os.SEEK_SET)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def here() -> dict[tuple[int, str], int]:
    return dict(positions(os.getpid()))


def test_the_position_in_a_large_file_is_seen(large: Path) -> None:
    with opened(large, LARGE) as file:
        assert here()[file, str(large)] == LARGE
        os.read(file, 1000)
        assert here()[file, str(large)] == LARGE + 1000


def test_the_position_in_any_other_file_is_not_seen(large: Path, tmp_path: Path) -> None:
    before = here()
    with (
        opened(large, LARGE - 1),
        opened("/dev/zero", SIZE),
        opened("/proc/self/mem", SIZE),
        opened(tmp_path, SIZE, os.O_RDONLY | os.O_DIRECTORY),
    ):
        assert here() == before


def test_nothing_is_known_about_a_process_that_is_gone() -> None:
    with pytest.raises(OSError, match="No such file"):
        positions(1 << 30)


@pytest.mark.parametrize(
    ("looks", "moved"),
    [
        ([{(3, "/a"): 5}], 0),  # nobody knows when it moved before the first look
        ([{(3, "/a"): 5}, {(3, "/a"): 9}], 4),
        ([{(3, "/a"): 5}, {(3, "/a"): 5}], 0),
        ([{(3, "/a"): 5}, {(3, "/a"): 2}, {(3, "/a"): 4}], 2),  # it reads the file again
        ([{}, {(3, "/a"): 7}], 7),
        ([{(3, "/a"): 5}, {(3, "/b"): 7}], 7),
        ([{(3, "/a"): 5, (4, "/a"): 1}, {(3, "/a"): 6, (4, "/a"): 3}], 3),
        ([{(3, "/a"): 5}, {}], 0),
    ],
)
def test_only_forward_movement_counts(looks: list[dict[tuple[int, str], int]], moved: int) -> None:
    progress = FileProgress()
    for look in looks:
        progress.move_to(look)
    assert progress.bytes == moved
