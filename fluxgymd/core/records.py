# SPDX-License-Identifier: Apache-2.0
"""The records that an attempt leaves and that the decisions read: where it ran, what it is, how it ended.

They are parts of the journal (core/events.py) and of the shim's files, so they only grow.
"""

from typing import NewType

import msgspec

JobName = NewType("JobName", str)
JobId = NewType("JobId", str)
"""32 hex digits, random."""
GpuUuid = NewType("GpuUuid", str)
UnixTime = NewType("UnixTime", float)
"""Seconds since the epoch, wall clock: for people and for records, never for a deadline."""
Ticks = NewType("Ticks", int)
"""A process's start time: field 22 of /proc/PID/stat, clock ticks since boot (proc(5))."""


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The base of all records on the disk."""


class Place(Record, frozen=True, kw_only=True):
    """Where an attempt runs: a process id means something only there."""

    machine_id: str
    boot_id: str
    pid_namespace: str
    init_start: Ticks
    """Start time of pid 1: a container restarted under the same boot id has another."""


class Process(Record, frozen=True, kw_only=True):
    """A process that cannot be mistaken for another: pids are used again, a pid with its start time is not."""

    pid: int
    start: Ticks


class Placement(Record, frozen=True, kw_only=True):
    """What holds the attempt's processes together, as the adapter recorded it before the gate was opened."""

    unit: str
    """The scope's name; for the process adapter the name that people see."""
    invocation_id: str | None = None
    cgroup: str | None = None
    """Path of the scope's cgroup below the cgroup2 mount, as in /proc/PID/cgroup."""


class ExitRecord(Record, frozen=True, kw_only=True):
    """exit.json, as the shim wrote it. Code and signal are apart: 137 is not a signal (containerd #8381)."""

    kind: str
    """exited, signaled, never-started or exec-failed."""
    code: int | None = None
    signal: int | None = None
    errno: int | None = None
    core: bool = False
    term_seen: bool = False
    oom_kills: int = 0
    max_rss: int | None = None
    """Bytes, the largest of the attempt's processes."""
    user_seconds: float | None = None
    system_seconds: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    boot_id: str = ""
    contract: int = 1
