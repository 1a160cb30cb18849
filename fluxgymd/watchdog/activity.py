# SPDX-License-Identifier: Apache-2.0
"""Reads from /proc and from the cgroup what the processes of an attempt do. Blocks, and may hang if they do.

Counters only grow: what a process had used at the last look stays counted after its end.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import psutil

from fluxgymd.attempts import cgroups, processes
from fluxgymd.core.journal.records import Process
from fluxgymd.core.watchdog.observation import Activity
from fluxgymd.watchdog.positions import FileProgress, positions

T = TypeVar("T")

MOST_THREADS = 4096
"""The most threads of one process that are examined, so that a look stays cheap."""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """Counters of one process. None if the kernel does not report the value to this user."""

    cpu_seconds: float | None
    io_bytes: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessState:
    """The state of one process at this moment."""

    threads: int
    blocked: int
    """Threads in state D."""
    blocked_in: str | None
    """The kernel function in which one of them waits."""
    memory: int
    """Bytes."""
    swap: int
    """Bytes."""


class Total:
    """The sum of counters over processes that come and go."""

    def __init__(self) -> None:
        self._last: dict[Process, Used] = {}
        self._ended = Used(cpu_seconds=None, io_bytes=None)

    def after(self, used: Mapping[Process, Used | None]) -> Used:
        """The sum after a look. `used`: the counters of each process that exists; None if they could not be read."""
        for process in [one for one in self._last if one not in used]:
            self._ended = _sum([self._ended, self._last.pop(process)])
        for process, told in used.items():
            self._last[process] = _highest(self._last.get(process), told)
        return _sum([self._ended, *self._last.values()])


class ActivityReader:
    """The looks at one attempt's processes."""

    def __init__(self) -> None:
        self._total = Total()
        self._in_files: dict[Process, FileProgress] = {}

    def look(self, members: Iterable[Process], *, trainer: Process | None, group: str | None) -> Activity:
        """`group`: the attempt's own cgroup, if it has one, as in /proc/PID/cgroup. Its counters also include
        processes that came and went between two looks."""
        members = tuple(members)
        self._in_files = {process: self._in_files.get(process, FileProgress()) for process in members}
        told = {process: _about(process, partial(used_by, in_files=self._in_files[process])) for process in members}
        used = self._total.after(told)
        states = [state for process in members if (state := _about(process, state_of))]
        blocked = [state for state in states if state.blocked]
        folder = _folder(group)
        cpu = keyed(folder / "cpu.stat", "usage_usec") if folder else None
        memory = number(folder / "memory.current") if folder else None
        swap = number(folder / "memory.swap.current") if folder else None
        return Activity(
            cpu_seconds=cpu / 1_000_000 if cpu is not None else used.cpu_seconds if any(told.values()) else None,
            io_bytes=used.io_bytes if any(told.values()) else None,
            threads=sum(state.threads for state in states),
            blocked_threads=sum(state.blocked for state in blocked),
            blocked_in=next((state.blocked_in for state in blocked if state.blocked_in), None),
            stopped=trainer is not None and bool(_about(trainer, is_stopped)),
            frozen=folder is not None and keyed(folder / "cgroup.events", "frozen") == 1,
            memory=memory if memory is not None else sum(state.memory for state in states),
            swap=swap if swap is not None else sum(state.swap for state in states),
        )


def memory_pressure(group: str | None, trainer: Process | None) -> float | None:
    """Per cent of the last 10 s in which all tasks of the attempt's cgroup waited for memory
    (docs.kernel.org/accounting/psi.html). If the attempt has no cgroup of its own, that of its trainer is used."""
    if group is None and trainer is not None:
        group = _about(trainer, processes.group_of)
    folder = _folder(group)
    if folder is None:
        return None
    for line in _read(folder / "memory.pressure").splitlines():
        if line.startswith("full "):
            return float(line.split()[1].removeprefix("avg10="))
    return None


def used_by(pid: int, in_files: FileProgress) -> Used:
    """The counters of one process. `in_files`: its progress in large files, which this look updates.

    Only bytes that really moved count as I/O: those of storage, of pages that were waited for, and of positions in
    large files. The bytes of system calls (rchar and wchar) do not: reading /proc, polling a pipe or writing to a
    terminal adds to them without moving any data (docs/decisions/0083-input-and-output-that-is-real.md).
    """
    process = psutil.Process(pid)
    cpu, io = None, None
    with suppress(psutil.Error):
        times = process.cpu_times()
        cpu = times.user + times.system
    with suppress(psutil.Error, AttributeError):
        counters = process.io_counters()
        io = counters.read_bytes + counters.write_bytes + PAGE * _major_faults(pid)
        with suppress(OSError):
            in_files.move_to(positions(pid))
        io += in_files.bytes
    return Used(cpu_seconds=cpu, io_bytes=io)


def _major_faults(pid: int) -> int:
    """Pages that a thread had to wait for: from a mapped file on any filesystem, or from swap."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(") ")[2].split()
    return int(fields[9]) if len(fields) > 9 else 0


def state_of(pid: int) -> ProcessState:
    blocked = [task for task in _tasks(pid) if _state(task) == "D"]
    return ProcessState(
        threads=_status(pid, "Threads"),
        blocked=len(blocked),
        blocked_in=next((where for task in blocked if (where := _waits_in(task))), None),
        memory=_status(pid, "VmRSS") * 1024,
        swap=_status(pid, "VmSwap") * 1024,
    )


def is_stopped(pid: int) -> bool:
    return _state(Path(f"/proc/{pid}/task/{pid}")) in ("T", "t")


def keyed(path: Path, name: str) -> int | None:
    """The number after a name in a file such as cpu.stat; None if the name is missing."""
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _about(process: Process, read: Callable[[int], T]) -> T | None:
    """The result of `read` for a process; None if the process has ended."""
    with suppress(psutil.Error, OSError):
        return processes.about(process, read)
    return None


def _folder(group: str | None) -> Path | None:
    if group is None:
        return None
    with suppress(OSError):
        return cgroups.directory(group)
    return None


def _tasks(pid: int) -> Iterator[Path]:
    with suppress(OSError), os.scandir(f"/proc/{pid}/task") as entries:
        yield from (Path(entry.path) for entry in islice(entries, MOST_THREADS))


def _state(task: Path) -> str:
    """The letter of the thread's state (proc(5)); empty if the thread has ended."""
    return _read(task / "stat").rpartition(") ")[2][:1]


def _waits_in(task: Path) -> str | None:
    """The kernel function in which a thread waits. Without permission, the kernel reports "0"."""
    name = _read(task / "wchan").strip()
    return name if name not in ("", "0") else None


def _status(pid: int, name: str) -> int:
    """A number from /proc/PID/status; 0 if it is missing (a kernel thread, a zombie)."""
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    return 0


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _sum(parts: list[Used]) -> Used:
    """The sum of each counter over the parts that know it; None if none does."""
    cpu = [part.cpu_seconds for part in parts if part.cpu_seconds is not None]
    io = [part.io_bytes for part in parts if part.io_bytes is not None]
    return Used(cpu_seconds=sum(cpu) if cpu else None, io_bytes=sum(io) if io else None)


def _highest(before: Used | None, now: Used | None) -> Used:
    both = [one for one in (before, now) if one is not None]
    return Used(
        cpu_seconds=max((one.cpu_seconds for one in both if one.cpu_seconds is not None), default=None),
        io_bytes=max((one.io_bytes for one in both if one.io_bytes is not None), default=None),
    )
