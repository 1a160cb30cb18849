# SPDX-License-Identifier: Apache-2.0
"""What the processes of an attempt do, from /proc and from its cgroup. Blocks, and may hang with them.

Counters only grow: what a process had used when it was seen last stays counted after its end.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import psutil

from fluxgymd.attempts import cgroups, processes
from fluxgymd.core.records import Process
from fluxgymd.core.watchdog.observation import Activity

T = TypeVar("T")

MOST_THREADS = 4096
"""Of one process: a look stays cheap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """Counters of one process. None: this kernel or this user may not tell."""

    cpu_seconds: float | None
    io_bytes: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Now:
    """What one process is and holds at this moment."""

    threads: int
    blocked: int
    blocked_in: str | None
    memory: int
    swap: int


class Total:
    """The sum over processes that come and go."""

    def __init__(self) -> None:
        self._last: dict[Process, Used] = {}
        self._ended = Used(cpu_seconds=None, io_bytes=None)

    def after(self, used: Mapping[Process, Used | None]) -> Used:
        """`used`: of each process that is there, None if it told nothing this time."""
        for process in [one for one in self._last if one not in used]:
            self._ended = _sum([self._ended, self._last.pop(process)])
        for process, told in used.items():
            self._last[process] = _highest(self._last.get(process), told)
        return _sum([self._ended, *self._last.values()])


class ActivityReader:
    """The looks at one attempt's processes."""

    def __init__(self) -> None:
        self._total = Total()

    def look(self, members: Iterable[Process], *, trainer: Process | None, group: str | None) -> Activity:
        """`group`: the attempt's own cgroup, as in /proc/PID/cgroup, where it has one: it counts processes that
        nobody saw, too."""
        members = tuple(members)
        told = {process: _about(process, used_by) for process in members}
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
    """Per cent of the last 10 s in which all tasks of the attempt's cgroup waited for memory; without one of its own,
    of the cgroup that its trainer is in (docs.kernel.org/accounting/psi.html)."""
    if group is None and trainer is not None:
        group = _about(trainer, processes.group_of)
    folder = _folder(group)
    if folder is None:
        return None
    for line in _read(folder / "memory.pressure").splitlines():
        if line.startswith("full "):
            return float(line.split()[1].removeprefix("avg10="))
    return None


def used_by(pid: int) -> Used:
    process = psutil.Process(pid)
    cpu, io = None, None
    with suppress(psutil.Error):
        times = process.cpu_times()
        cpu = times.user + times.system
    with suppress(psutil.Error, AttributeError):
        counters = process.io_counters()
        io = counters.read_chars + counters.write_chars + counters.read_bytes + counters.write_bytes
    return Used(cpu_seconds=cpu, io_bytes=io)


def state_of(pid: int) -> Now:
    blocked = [task for task in _tasks(pid) if _state(task) == "D"]
    return Now(
        threads=_status(pid, "Threads"),
        blocked=len(blocked),
        blocked_in=next((where for task in blocked if (where := _waits_in(task))), None),
        memory=_status(pid, "VmRSS") * 1024,
        swap=_status(pid, "VmSwap") * 1024,
    )


def is_stopped(pid: int) -> bool:
    return _state(Path(f"/proc/{pid}/task/{pid}")) in ("T", "t")


def keyed(path: Path, name: str) -> int | None:
    """The number behind a name in a file such as cpu.stat. None if it is not there."""
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() else None


def _about(process: Process, read: Callable[[int], T]) -> T | None:
    """None if it has ended."""
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
    """The letter of proc(5); empty if it has ended."""
    return _read(task / "stat").rpartition(") ")[2][:1]


def _waits_in(task: Path) -> str | None:
    """The kernel function. "0" is told to who may not know."""
    name = _read(task / "wchan").strip()
    return name if name not in ("", "0") else None


def _status(pid: int, name: str) -> int:
    """A number of /proc/PID/status, 0 if it has none (a kernel thread, a zombie)."""
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
    """None where none of them is known."""
    cpu = [part.cpu_seconds for part in parts if part.cpu_seconds is not None]
    io = [part.io_bytes for part in parts if part.io_bytes is not None]
    return Used(cpu_seconds=sum(cpu) if cpu else None, io_bytes=sum(io) if io else None)


def _highest(before: Used | None, now: Used | None) -> Used:
    both = [one for one in (before, now) if one is not None]
    return Used(
        cpu_seconds=max((one.cpu_seconds for one in both if one.cpu_seconds is not None), default=None),
        io_bytes=max((one.io_bytes for one in both if one.io_bytes is not None), default=None),
    )
