# SPDX-License-Identifier: Apache-2.0
"""What is said of a disk that refuses: each kind of refusal in words of its own, with what to do."""

import errno
import os

import pytest

from fluxgymd.core.storage import PROBLEMS, sentence


def test_a_full_disk_and_one_that_is_read_only_are_told_apart() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/home/a/outputs/x")
    assert sentence(full, "/home/a") == (
        "The disk of /home/a refuses writes: it is full (/home/a/outputs/x); free some space, and FluxGym goes on by "
        "itself."
    )
    read_only = sentence(OSError(errno.EROFS, "Read-only file system"), "/home/a")
    assert "it is mounted read-only; " in read_only
    assert "dmesg" in read_only


def test_each_refusal_has_words_and_advice_of_its_own() -> None:
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
def test_what_is_not_known_is_told_in_the_words_of_the_system(error: OSError, words: str) -> None:
    assert sentence(error, "/h") == f"The disk of /h refuses writes: {words}."
