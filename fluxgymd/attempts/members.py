# SPDX-License-Identifier: Apache-2.0
"""Which processes are an attempt's: by its mark and its shim (process adapter), or by its cgroup (scope adapter).

Who is listed as a member was proved to be one. A process that may be one, but cannot be proved, is doubtful: it is
never signalled, and while there is one nobody says that nothing is left.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxgymd import lanes
from fluxgymd.attempts import processes
from fluxgymd.attempts.processes import Stat
from fluxgymd.core.records import Process

ROUND_SECONDS = 0.05
KILL_SECONDS = 10.0
"""How long what was killed may take to go, before the shim is killed too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    proved: tuple[Process, ...] = ()
    doubtful: tuple[Process, ...] = ()


def by_mark(*, mark: str, shim: Process | None) -> Members:
    """The attempt's processes on a machine without scopes. The shim is among them while it lives."""

    def marked(process: Process) -> bool:
        return bool(processes.about(process, lambda pid: processes.carries(pid, mark)))

    return sort(processes.everyone(), shim=shim, marked=marked)


def sort(everyone: Sequence[Stat], *, shim: Process | None, marked: Callable[[Process], bool]) -> Members:
    """Splits all processes that live.

    Proved are those with the mark, and the descendants of the living shim: it is a subreaper, so none gets away.
    Doubtful are others in the session of its number, which they may have entered while the number was its own.
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
    """A stranger has the shim's pid. The kernel gives a number away only when no session of that number is left."""
    return any(one.process.pid == shim.pid and one.process != shim for one in everyone)


def in_group(directory: Path, group: str) -> Members:
    """The processes of a cgroup and of those below it. `directory`: where it is; `group`: its name in /proc."""

    def belongs(pid: int) -> bool:
        where = processes.group_of(pid)
        return where is not None and (where == group or where.startswith(f"{group}/"))

    proved = []
    for pid in _listed(directory):
        now = processes.stat(pid)
        if now is not None and processes.about(now.process, belongs):
            proved.append(now.process)
    return Members(proved=tuple(proved))


def _listed(directory: Path) -> list[int]:
    pids: list[int] = []
    for file in directory.rglob("cgroup.procs"):
        try:
            pids += [int(line) for line in file.read_text().split()]
        except OSError:
            continue  # the cgroup is gone, or only its threads can be listed
    return pids


def signal_all(members: Members, number: signal.Signals, *, but: Process | None = None) -> None:
    """Signals everyone who is proved, `but` one."""
    for process in members.proved:
        if process != but:
            processes.send(process, number)


async def kill_all(members: Callable[[], Members], *, lane: str, shim: Process | None) -> None:
    """SIGKILL to all in rounds, since they may fork meanwhile; the shim last, for it still has to record the end."""
    end = time.monotonic() + KILL_SECONDS
    while time.monotonic() < end:
        left = await lanes.run(lane, members)
        if not left.proved:
            return
        signal_all(left, signal.SIGKILL, but=shim)
        await asyncio.sleep(ROUND_SECONDS)
    signal_all(await lanes.run(lane, members), signal.SIGKILL)
