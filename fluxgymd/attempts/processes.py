# SPDX-License-Identifier: Apache-2.0
"""Processes that cannot be mistaken for others, and signals that reach no stranger (promise 6).

A pid alone proves nothing: it is used again. A pid with its start time names one process for ever, and a pidfd that
was opened before the start time was read stays bound to that process until the signal is sent.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fluxgymd.core.records import Process, Ticks

T = TypeVar("T")

MARK = "FLUXGYM_ATTEMPT_ID"
"""The variable that every process of an attempt carries: 32 hex digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stat:
    """What /proc/PID/stat says (proc(5))."""

    process: Process
    parent: int
    session: int
    dead: bool
    """A zombie with no thread left: it waits to be reaped and does nothing more."""


def stat(pid: int) -> Stat | None:
    """None if there is no such process, or if /proc is mounted so that others' are hidden (hidepid)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = text.rpartition(b")")[2].split()  # the name before it may hold blanks and brackets
    return Stat(
        process=Process(pid=pid, start=Ticks(int(fields[19]))),
        parent=int(fields[1]),
        session=int(fields[3]),
        dead=fields[0] in (b"Z", b"X") and int(fields[17]) <= 1,
    )


def everyone() -> list[Stat]:
    """All processes of this pid namespace that live."""
    found = (stat(int(entry)) for entry in os.listdir("/proc") if entry.isdecimal())
    return [one for one in found if one is not None and not one.dead]


def lives(process: Process) -> bool:
    now = stat(process.pid)
    return now is not None and not now.dead and now.process == process


def about(process: Process, read: Callable[[int], T]) -> T | None:
    """What `read(pid)` says, if that is surely about this process: it lives afterwards too. None if it has ended."""
    value = read(process.pid)
    return value if lives(process) else None


def carries(pid: int, mark: str) -> bool:
    """Whether a process is known to have been started with this mark."""
    return variable(pid, MARK) == mark


def variable(pid: int, name: str) -> str | None:
    """What a process was started with; None if it has no such variable, or is another user's."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    begin = f"{name}=".encode()
    return next((os.fsdecode(one[len(begin) :]) for one in environ.split(b"\0") if one.startswith(begin)), None)


def group_of(pid: int) -> str | None:
    """The cgroup2 path of a process, as /proc/PID/cgroup has it."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(errors="surrogateescape").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((line[3:] for line in lines if line.startswith("0::")), None)


def open_pidfd(process: Process) -> int | None:
    """A descriptor of exactly this process, which becomes readable when it ends. None if it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if lives(process):
        return descriptor
    os.close(descriptor)
    return None


def send(process: Process, number: signal.Signals) -> bool:
    """Signals exactly this process. False if it has ended."""
    descriptor = open_pidfd(process)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True
