# SPDX-License-Identifier: Apache-2.0
"""Explains why a disk refuses writes and what a person can do. A full disk needs other advice than a failing one."""

import errno

PROBLEMS = {
    errno.ENOSPC: ("it is full", "free some space, and FluxGym will continue automatically"),
    errno.EDQUOT: (
        "your quota on it is used up",
        "free some space or have the quota raised, and FluxGym will continue automatically",
    ),
    errno.EIO: (
        "it reports an input/output error",
        "it may be failing, or its network volume may be unavailable: check the kernel log with `dmesg`",
    ),
    errno.EROFS: (
        "it is mounted read-only",
        "the kernel does this after an error: check its log with `dmesg`, then remount the disk writable",
    ),
    errno.EACCES: ("permission is denied", "use chown to give the files back to the user who runs fluxgymd"),
    errno.EPERM: (
        "the operation is not permitted",
        "use chown to give the files back to the user who runs fluxgymd, and check them with `lsattr`",
    ),
    errno.ENOENT: (
        "a file or folder of FluxGym's is missing",
        "put it back, or mount its volume again; remove the job if you deleted it on purpose",
    ),
    errno.ESTALE: ("its network volume was replaced while in use", "mount it again, and restart fluxgymd"),
}
"""What is wrong and what to do, two clauses for each errno (errno(3))."""


OF_THE_WHOLE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors that affect every write to the disk as long as they last."""

NEEDED_BYTES = 1 << 20
"""Free space that the daemon needs for its own records for a while: journals, records of attempts, owner.json."""
NEEDED_FILES = 16

LOW_BYTES = 4 << 30
LOW_SHARE = 0.05


def is_low(*, free: int, size: int, files: int, free_files: int) -> bool:
    """Whether a disk runs low: soon a training, or the daemon itself, could fail to save. The free space counts as
    low below LOW_BYTES or, on a small disk, below LOW_SHARE of its size. `size`: bytes of the whole disk; the others
    are those of `room_problem`."""
    if free < max(NEEDED_BYTES, min(LOW_BYTES, LOW_SHARE * size)):
        return True
    return bool(files) and free_files < max(NEEDED_FILES, LOW_SHARE * files)


def file_size(count: int) -> str:
    """A number of bytes, formatted for a sentence."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def room_problem(home: str, *, free: int, files: int, free_files: int) -> str | None:
    """Why the daemon may soon be unable to write its own records; None if there is room. `free`: bytes; `files`: how
    many the disk can hold in all, 0 if it doesn't count them."""
    if free < NEEDED_BYTES:
        return (
            f"The disk of {home} is full: {free} bytes are left, but FluxGym itself needs {NEEDED_BYTES}; free some "
            "space, and FluxGym will continue automatically."
        )
    if files and free_files < NEEDED_FILES:
        return (
            f"The disk of {home} has room for only {free_files} more files, but FluxGym itself needs {NEEDED_FILES}; "
            "delete some files, and FluxGym will continue automatically."
        )
    return None


def sentence(error: OSError, home: str) -> str:
    """One sentence about a failed write to the disk of `home`."""
    if error.errno not in PROBLEMS:
        return f"The disk of {home} refuses writes: {error.strerror or error}."
    what, remedy = PROBLEMS[error.errno]
    where = f" ({error.filename})" if error.filename else ""
    return f"The disk of {home} refuses writes: {what}{where}; {remedy}."
