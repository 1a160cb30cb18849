# SPDX-License-Identifier: Apache-2.0
"""Finds the processes of an attempt: by its mark and its shim (process adapter), or by its cgroup (scope adapter).

A proved member provably belongs to the attempt. A process that may belong to it, without proof, is doubtful: it is
never signalled, and as long as it exists, FluxGym does not conclude that nothing of the attempt is left.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxgymd.attempts import processes
from fluxgymd.attempts.processes import Stat
from fluxgymd.background import lanes
from fluxgymd.core.journal.records import Process

ROUND_SECONDS = 0.05
KILL_SECONDS = 10.0
"""How long killed processes may take to disappear before the shim is killed too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    proved: tuple[Process, ...] = ()
    doubtful: tuple[Process, ...] = ()


def by_mark(*, mark: str, shim: Process | None) -> Members:
    """The attempt's processes where there are no scopes. They include the shim while it lives."""

    def marked(process: Process) -> bool:
        return bool(processes.about(process, lambda pid: processes.carries(pid, mark)))

    return sort(processes.everyone(), shim=shim, marked=marked)


def sort(everyone: Sequence[Stat], *, shim: Process | None, marked: Callable[[Process], bool]) -> Members:
    """Picks the members out of all living processes.

    Proved: those with the mark, the shim if it lives, and its descendants (the shim is a subreaper, so none escapes).
    Doubtful: all others in the session whose number is the shim's pid, since they may have joined it while the shim
    led it.
    """
    if shim is not None:
        everyone = [one for one in everyone if one.process.start >= shim.start]
    family = _family(everyone, shim)
    proved = [one.process for one in everyone if one.process in family or marked(one.process)]
    session = shim.pid if shim is not None and not _used_again(everyone, shim) else None
    doubtful = [one.process for one in everyone if one.session == session and one.process not in proved]
    return Members(proved=tuple(proved), doubtful=tuple(doubtful))


def _family(everyone: Sequence[Stat], shim: Process | None) -> set[Process]:
    """The shim, if it lives, and its descendants."""
    family = {one.process for one in everyone if one.process == shim}
    grown = True
    while grown:
        pids = {process.pid for process in family}
        children = {one.process for one in everyone if one.parent in pids}
        grown = not children <= family
        family |= children
    return family


def _used_again(everyone: Sequence[Stat], shim: Process) -> bool:
    """Whether another process has the shim's pid. Then the shim's session is gone: the kernel doesn't reuse a number
    while a session has it."""
    return any(one.process.pid == shim.pid and one.process != shim for one in everyone)


def in_group(directory: Path, group: str) -> Members:
    """The processes in a cgroup and in those below it, all proved. `directory`: the cgroup's directory; `group`: its
    name as in /proc/PID/cgroup."""
    proved = []
    for pid in _listed(directory):
        now = processes.stat(pid)
        if now is not None and processes.about(now.process, lambda pid: belongs(pid, group)):
            proved.append(now.process)
    return Members(proved=tuple(proved))


def belongs(pid: int, group: str) -> bool:
    """Whether a process is in the cgroup or below it."""
    where = processes.group_of(pid)
    return where is not None and (where == group or where.startswith(f"{group}/"))


def _listed(directory: Path) -> list[int]:
    pids: list[int] = []
    for file in directory.rglob("cgroup.procs"):
        try:
            pids += [int(line) for line in file.read_text().split()]
        except OSError:
            continue  # the cgroup is gone, or only its threads can be listed
    return pids


def signal_all(members: Members, number: signal.Signals, *, but: Process | None = None) -> None:
    """Signals all proved members except the process `but`."""
    for process in members.proved:
        if process != but:
            processes.send(process, number)


async def kill_all(members: Callable[[], Members], *, lane: str, shim: Process | None) -> None:
    """Sends SIGKILL to all members, in rounds because they may fork in the meantime.

    The shim has to record the end, so it is spared until KILL_SECONDS have passed.
    """
    end = time.monotonic() + KILL_SECONDS
    while time.monotonic() < end:
        left = await lanes.run(lane, members)
        if not left.proved:
            return
        signal_all(left, signal.SIGKILL, but=shim)
        await asyncio.sleep(ROUND_SECONDS)
    signal_all(await lanes.run(lane, members), signal.SIGKILL)
