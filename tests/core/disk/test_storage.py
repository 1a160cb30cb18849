# SPDX-License-Identifier: Apache-2.0
"""Messages about a disk that refuses writes: each kind of refusal has its own words and its own advice."""

import errno
import os

import pytest

from fluxgymd.core.disk.storage import NEEDED_BYTES, NEEDED_FILES, PROBLEMS, is_low, room_problem, sentence


def test_a_full_disk_and_a_read_only_one_are_distinguished() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/home/a/outputs/x")
    assert sentence(full, "/home/a") == (
        "The disk of /home/a refuses writes: it is full (/home/a/outputs/x); free some space, and FluxGym will "
        "continue automatically."
    )
    read_only = sentence(OSError(errno.EROFS, "Read-only file system"), "/home/a")
    assert "it is mounted read-only; " in read_only
    assert "dmesg" in read_only


def test_each_refusal_has_its_own_words_and_advice() -> None:
    told = {sentence(OSError(number, os.strerror(number)), "/h") for number in PROBLEMS}
    assert len(told) == len(PROBLEMS)
    for number in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.ENOENT):
        assert number in PROBLEMS


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EBUSY, "Device or resource busy"), "Device or resource busy"),
        (OSError("it shrank"), "it shrank"),
    ],
)
def test_an_unknown_refusal_is_reported_in_the_systems_words(error: OSError, words: str) -> None:
    assert sentence(error, "/h") == f"The disk of /h refuses writes: {words}."


FULL = (
    "The disk of /h is full: 4096 bytes are left, but FluxGym itself needs 1048576; free some space, and FluxGym "
    "will continue automatically."
)
FILES = (
    "The disk of /h has room for only 3 more files, but FluxGym itself needs 16; delete some files, and FluxGym will "
    "continue automatically."
)


@pytest.mark.parametrize(
    ("free", "files", "free_files", "problem"),
    [
        (NEEDED_BYTES, 1000, NEEDED_FILES, None),
        (4096, 1000, 1000, FULL),
        (4096, 0, 0, FULL),
        (NEEDED_BYTES, 1000, 3, FILES),
        (NEEDED_BYTES, 0, 0, None),  # btrfs and some other file systems don't count files
    ],
)
def test_a_disk_without_room_for_our_own_records_is_reported(
    free: int, files: int, free_files: int, problem: str | None
) -> None:
    assert room_problem("/h", free=free, files=files, free_files=free_files) == problem


GB = 10**9


@pytest.mark.parametrize(
    ("free", "size", "files", "free_files", "low"),
    [
        (5 * GB, 1000 * GB, 0, 0, False),
        (4 * GB, 1000 * GB, 0, 0, True),
        (4 * GB, 50 * GB, 0, 0, False),
        (2 * GB, 50 * GB, 0, 0, True),
        # A tiny disk is low as soon as there is no room for the daemon's own records.
        (1 << 20, 4 << 20, 0, 0, False),
        ((1 << 20) - 1, 4 << 20, 0, 0, True),
        (50 * GB, 100 * GB, 1000, 50, False),
        (50 * GB, 100 * GB, 1000, 49, True),
        (50 * GB, 100 * GB, 20, 15, True),
    ],
)
def test_a_disk_is_low_while_something_can_still_be_done(
    free: int, size: int, files: int, free_files: int, *, low: bool
) -> None:
    assert is_low(free=free, size=size, files=files, free_files=free_files) is low
