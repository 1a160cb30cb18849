# SPDX-License-Identifier: Apache-2.0
"""Describes a log that has grown beyond its limit. The shim punches a hole into the middle of such a log."""

from dataclasses import dataclass

MIB = 1 << 20
TOLERANCE = 1.25
"""How many times the limit a log may reach before it is reported: it is cut with a delay, and in large pieces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogSize:
    """Sizes of a log in bytes."""

    size: int
    """Length, including holes."""
    taken: int
    """Disk space, to which the limit applies: it is less than the length if the file system compresses."""
    missing: int
    """Length of the first hole."""


def problem(name: str, log: LogSize, *, limit: int) -> str | None:
    """One sentence about a log that is too long; None if it isn't. `name`: of the job; `limit`: bytes."""
    if log.missing:
        return (
            f"The log of {name} has grown to {log.size / MIB:.0f} MiB, beyond log.limit_mib; "
            f"{log.missing / MIB:.0f} MiB were dropped from its middle."
        )
    if log.taken > TOLERANCE * limit:
        return (
            f"The log of {name} has grown to {log.taken / MIB:.0f} MiB, beyond log.limit_mib, but its middle was not "
            "dropped: the file system cannot punch holes, or the process that trims the log is gone or is of an "
            "earlier version."
        )
    return None
