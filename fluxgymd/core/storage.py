# SPDX-License-Identifier: Apache-2.0
"""What a disk's refusal means to people, and what they can do: a full disk is another thing than a failing one."""

import errno

PROBLEMS = {
    errno.ENOSPC: ("it is full", "free some space, and FluxGym goes on by itself"),
    errno.EDQUOT: ("your quota on it is used up", "free some space or have it raised, and FluxGym goes on by itself"),
    errno.EIO: (
        "it reports an input/output error",
        "it may be failing, or its network volume may be away: look into the kernel's log with `dmesg`",
    ),
    errno.EROFS: (
        "it is mounted read-only",
        "the kernel does that after a fault: look into its log with `dmesg`, and mount it writable again",
    ),
    errno.EACCES: ("permission is denied", "give the files back to the user who runs fluxgymd, with chown"),
    errno.EPERM: ("it is not permitted", "give the files back to the user who runs fluxgymd, and look at `lsattr`"),
    errno.ENOENT: (
        "a file or folder of FluxGym's is gone",
        "put it back, or mount its volume again; remove the job if you have deleted it on purpose",
    ),
    errno.ESTALE: ("its network volume was replaced under FluxGym", "mount it again, and restart fluxgymd"),
}
"""What is wrong, and what to do, by errno (errno(3))."""


def sentence(error: OSError, home: str) -> str:
    """One sentence about a write that failed. `home`: where, if the error does not tell."""
    if error.errno not in PROBLEMS:
        return f"The disk of {home} refuses writes: {error.strerror or error}."
    what, remedy = PROBLEMS[error.errno]
    where = f" ({error.filename})" if error.filename else ""
    return f"The disk of {home} refuses writes: {what}{where}; {remedy}."
