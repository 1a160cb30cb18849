# SPDX-License-Identifier: Apache-2.0
"""Identifies processes beyond doubt, and signals exactly the process that is meant (promise 6).

A pid alone proves nothing, since the kernel reuses pids. A pid with a start time identifies one process of this boot,
and a pidfd that was opened before the start time was read stays bound to that process until the signal is sent.
"""

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fluxgymd.core.journal.records import Process, Ticks

T = TypeVar("T")

MARK = "FLUXGYM_ATTEMPT_ID"
"""The environment variable that every process of an attempt has: 32 hex digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stat:
    """Fields of /proc/PID/stat (proc(5))."""

    process: Process
    parent: int
    session: int
    dead: bool
    """A zombie with no other thread left: it only waits to be reaped."""


def stat(pid: int) -> Stat | None:
    """None if there is no such process, or if /proc hides it because it is another user's (hidepid)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = text.rpartition(b")")[2].split()  # the name before it may contain blanks and parentheses
    return Stat(
        process=Process(pid=pid, start=Ticks(int(fields[19]))),
        parent=int(fields[1]),
        session=int(fields[3]),
        dead=fields[0] in (b"Z", b"X") and int(fields[17]) <= 1,
    )


def everyone() -> list[Stat]:
    """All living processes of this pid namespace that /proc shows."""
    found = (stat(int(entry)) for entry in os.listdir("/proc") if entry.isdecimal())
    return [one for one in found if one is not None and not one.dead]


def lives(process: Process) -> bool:
    now = stat(process.pid)
    return now is not None and not now.dead and now.process == process


def exists(pid: int) -> bool:
    """Whether this pid namespace has a process with this pid, of any user, even if /proc hides it (hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def has_ended(process: Process) -> bool:
    """Whether the process has certainly ended. One that is merely hidden from this user (hidepid) may be alive."""
    now = stat(process.pid)
    if now is not None:
        return now.dead or now.process != process
    return not exists(process.pid)


def about(process: Process, read: Callable[[int], T]) -> T | None:
    """The value of `read(pid)`, or None if the process has ended. It still lives after the read, so the value is
    certainly about this process and not about another one with its pid."""
    value = read(process.pid)
    return value if lives(process) else None


def carries(pid: int, mark: str) -> bool:
    """Whether a process was started with this mark; False if its environment can't be read."""
    return variable(pid, MARK) == mark


def variable(pid: int, name: str) -> str | None:
    """A variable of the environment that a process was started with; None if it has no such variable, or if its
    environment can't be read, for example because it is another user's."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    begin = f"{name}=".encode()
    return next((os.fsdecode(one[len(begin) :]) for one in environ.split(b"\0") if one.startswith(begin)), None)


def catches(process: Process, number: signal.Signals) -> bool:
    """Whether the process has a handler for this signal."""
    caught = about(process, _caught)
    return caught is not None and bool(caught >> (number - 1) & 1)


def _caught(pid: int) -> int:
    """The signals with a handler, as a bit mask: SigCgt in proc(5)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return 0
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(found[1], 16) if found else 0


def group_of(pid: int) -> str | None:
    """The cgroup2 path of a process as in /proc/PID/cgroup; None if it has ended, or has only cgroup v1."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(errors="surrogateescape").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((line[3:] for line in lines if line.startswith("0::")), None)


def open_pidfd(process: Process) -> int | None:
    """A pidfd of exactly this process, which becomes readable when the process ends. None if it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if lives(process):
        return descriptor
    os.close(descriptor)
    return None


def send(process: Process, number: signal.Signals, *, only_if_caught: bool = False) -> bool:
    """Signals exactly this process. False if it has ended. `only_if_caught`: also False, and nothing is sent, if the
    process has no handler for the signal, which would then kill it."""
    descriptor = open_pidfd(process)
    if descriptor is None:
        return False
    try:
        if only_if_caught and not catches(process, number):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True
