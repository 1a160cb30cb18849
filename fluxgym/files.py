# SPDX-License-Identifier: Apache-2.0
"""Opening and reading files that somebody may have replaced by something else.

An ordinary open() of a FIFO waits forever, an open() that creates a file follows a dangling link and creates its
target, and a file may be larger than any memory. So FluxGym's programs open files by name here: only regular files,
without waiting, and they read only up to a limit. Problems are an OSError whose `strerror` is a clause for people.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

RECORD_BYTES = 4 << 20
"""The largest record, configuration or spec file that is read."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Unusable(OSError):
    """The path can be reached, but what is there cannot be used."""


class NotAFile(Unusable):
    """Something other than a regular file has this name; `strerror` says what."""

    def __init__(self, path: Path | str, what: str) -> None:
        super().__init__(errno.EINVAL, f"it is {what}, not a regular file", os.fspath(path))


class TooLarge(Unusable):
    """The file has more bytes than any file that belongs there."""

    def __init__(self, path: Path | str, size: int, most: int) -> None:
        super().__init__(errno.EFBIG, f"it has {size} bytes, and the limit is {most}", os.fspath(path))


def open_file(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file. NotAFile for anything else, without waiting for it; OSError as from os.open.

    If the file is only read, a link is followed. If `flags` may create the file, a link is refused, since its target
    would be created instead.
    """
    creates = bool(flags & os.O_CREAT)
    safe = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (os.O_NOFOLLOW if creates else 0)
    try:
        descriptor = os.open(path, flags | safe, 0o600)
    except OSError as error:
        raise _explained(path, error) from None
    try:
        what = _not_regular(os.fstat(descriptor).st_mode)
        if what is not None:
            raise NotAFile(path, what)
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_for_reading(path: Path | str) -> BinaryIO:
    """Like `open_file`, but returns a file object."""
    return os.fdopen(open_file(path), "rb")


def read_file(path: Path | str, *, most: int = RECORD_BYTES) -> bytes:
    """The contents of a file. TooLarge if it has more than `most` bytes; NotAFile; OSError."""
    with open_for_reading(path) as file:
        data = file.read(most + 1)
        if len(data) > most:
            raise TooLarge(path, max(len(data), os.fstat(file.fileno()).st_size), most)
        return data


def is_file(path: Path | str) -> bool:
    """Whether there is a regular file at this path. OSError if that cannot be determined: a folder on the way is not
    accessible, or a name is too long."""
    return _is(path, stat.S_ISREG)


def is_folder(path: Path | str) -> bool:
    """The same for a folder."""
    return _is(path, stat.S_ISDIR)


def _is(path: Path | str, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in it
        return False


def _explained(path: Path | str, error: OSError) -> OSError:
    """An error that says what has this name, if open()'s own would mislead: ENXIO for a FIFO, ENOENT for a dangling
    link."""
    if error.errno not in (errno.ENXIO, errno.EISDIR, errno.ELOOP, errno.ENOENT, errno.ENODEV):
        return error
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return error
    what = "a link to a file that does not exist" if error.errno == errno.ENOENT else "a symbolic link"
    if not stat.S_ISLNK(mode):
        what = _not_regular(mode) or ""
    return NotAFile(path, what) if what else error


def _not_regular(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
