# SPDX-License-Identifier: Apache-2.0
"""The records of an attempt: where it ran, which processes it has, and how it ended.

They are parts of the journal (core/journal/events.py) and of the shim's files, so fields may be added but never
removed.
"""

from typing import Annotated, NewType

import msgspec

Ticks = NewType("Ticks", int)
"""The start time of a process in clock ticks since boot: field 22 of /proc/PID/stat (proc(5))."""


WallClock = Annotated[float, msgspec.Meta(ge=-1e11, le=1e11)]
"""Seconds since the epoch, from the year -1199 to the year 5138. A value outside this range is damage."""

MOST = 2**53
"""The largest number and rank; anything beyond is damage. Up to it, each integer is a float of its own."""
MOST_ENERGY = 1e12
"""Watt hours; a higher value means a damaged record. A GPU uses about ten thousand a day."""
Energy = Annotated[float, msgspec.Meta(ge=0, le=MOST_ENERGY)]
Number = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Rank = Annotated[float, msgspec.Meta(ge=-float(MOST), le=float(MOST))]


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The base class of all records on the disk."""


class Place(Record, frozen=True, kw_only=True):
    """Where an attempt runs. Its pids mean something only there."""

    machine_id: str
    boot_id: str
    pid_namespace: str
    init_start: Ticks
    """Start time of pid 1, which tells apart two runs of a container under the same boot id."""


class Process(Record, frozen=True, kw_only=True):
    """Identifies a process beyond doubt: pids are reused, but not a pid with the same start time."""

    pid: int
    start: Ticks


class Placement(Record, frozen=True, kw_only=True):
    """The unit and cgroup of an attempt's processes, as recorded by the adapter before the gate is opened."""

    unit: str
    """The scope's name; for the process adapter only a name for people."""
    invocation_id: str | None = None
    cgroup: str | None = None
    """Path of the scope's cgroup below the cgroup2 mount, as in /proc/PID/cgroup."""


class ExitRecord(Record, frozen=True, kw_only=True):
    """exit.json, written by the shim. Code and signal are separate: 137 is not a signal (containerd #8381)."""

    kind: str
    """exited, signaled, never-started or exec-failed."""
    code: int | None = None
    signal: int | None = None
    errno: int | None = None
    core: bool = False
    term_seen: bool = False
    """The shim saw SIGTERM, SIGINT or SIGHUP."""
    endings_seen: tuple[int, ...] = ()
    """The numbers of these signals. Shims of earlier versions don't record them."""
    oom_kills: int = 0
    """Processes of the attempt's cgroup that the kernel killed for lack of memory."""
    disk_full: bool = False
    """The disk of the log was full when the trainer ended."""
    last_words: str = ""
    """The end of the output that could not be written to the log."""
    max_rss: int | None = None
    """Bytes: the maximum resident set of the largest of the attempt's processes."""
    user_seconds: float | None = None
    system_seconds: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    boot_id: str = ""
    contract: int = 1
