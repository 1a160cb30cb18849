# SPDX-License-Identifier: Apache-2.0
"""A real file system of a few pages, for tests to fill up.

It is a tmpfs that is detached at once and lives on through an open descriptor, so nothing of it remains, however the
test run ends. Its path leads through /proc, and other processes can use it while this process lives.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.namespace import need_root

MNT_DETACH = 2  # linux/fs.h
KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE (linux/falloc.h)
PAGE = 4096

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def small_disk(at: Path, *, pages: int) -> Iterator[Path]:
    """A folder on a disk with this number of pages. `at`: an empty folder to mount it on for a moment."""
    need_root("makes a small disk of its own")
    options = f"size={pages * PAGE},mode=700".encode()
    _check(_libc.mount(b"fluxgym-test", os.fsencode(at), b"tmpfs", 0, options))
    descriptor = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _check(_libc.umount2(os.fsencode(at), MNT_DETACH))
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    finally:
        os.close(descriptor)


def fill(disk: Path) -> Path:
    """Fills the disk to the last byte, also if it was filled before. Delete the returned file to free the space."""
    hog = disk / "hog"
    with hog.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(PAGE)):
                pass
        except OSError:
            return hog
    raise AssertionError("the disk never got full")


def preallocate(file: int, size: int) -> None:
    """Allocates the blocks of a file that will have `size` bytes, as XFS does automatically. The file's length
    doesn't change."""
    _check(_libc.fallocate(file, KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(size)))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
