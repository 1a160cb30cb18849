# SPDX-License-Identifier: Apache-2.0
"""Processes of jobs that are no longer in the home (attempts/orphans.py). Their GPUs count as in use, and the user
can end them by the job's name.

A job in the registry keeps its GPUs whatever happens to its folder, so only a daemon that was just started can find
such processes. It looks once, and continues to look while there are any.
"""

import logging
import time

from fluxgymd.attempts import orphans, temporary
from fluxgymd.attempts.orphans import Orphan
from fluxgymd.attempts.port import AttemptRef
from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.background import lanes
from fluxgymd.core.job import Live
from fluxgymd.core.journal.records import Place
from fluxgymd.jobs.registry import Registry

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two looks; each reads the environment of every process on this machine."""
LANE = "forgotten"


class Forgotten:
    def __init__(self, registry: Registry, here: Place, *, stop_limit: float) -> None:
        """`stop_limit`: seconds from a stop's SIGTERM to its SIGKILL."""
        self._registry = registry
        self._here = here
        # Finds processes by their marks, which both adapters set. Only the lost journal knew the cgroup of a scope.
        self._adapter = ProcessAdapter(stop_limit=stop_limit)
        self._found: list[Orphan] | None = None
        self._next_look = 0.0

    async def gpus(self) -> frozenset[str]:
        """The GPUs that these processes use."""
        if (self._found is None or self._found) and time.monotonic() >= self._next_look:
            await self._look()
        return frozenset(gpu for orphan in self._found or () for gpu in orphan.gpus)

    async def of(self, job: str) -> list[Orphan]:
        """The processes of the job of this name, as of now."""
        if self._found is None or self._found:
            await self._look()
        return [orphan for orphan in self._found or () if orphan.job == job]

    async def stop(self, job: str) -> bool:
        """Ends the processes of the job of this name: SIGTERM now, SIGKILL at the limit. False if there are none."""
        found = await self.of(job)
        for mark in {orphan.mark for orphan in found}:
            unit, folder = f"{LANE}-{mark}", self._registry.home.folder(job).path
            await self._adapter.stop(
                AttemptRef(unit=unit, folder=folder, mark=mark, place=self._here, shim=None, placement=None)
            )
        return bool(found)

    def reasons(self) -> list[str]:
        """A sentence for each job that runs without being in the home."""
        found: dict[str, list[Orphan]] = {}
        for orphan in self._found or ():
            if not self._is_damaged(orphan.job):  # else the job is in the home, and only its journal can't be read
                found.setdefault(orphan.job, []).append(orphan)
        return [_sentence(job, members) for job, members in found.items()]

    def _is_damaged(self, job: str) -> bool:
        return self._registry.has(job) and self._registry.entry(job).damage is not None

    async def _look(self) -> None:
        marks = {job.state.attempt.mark for job in self._registry.jobs() if isinstance(job.state, Live)}
        before = self._found or []
        self._found = await lanes.run(LANE, orphans.find, self._registry.home.outputs, marks)
        self._next_look = time.monotonic() + LOOK_SECONDS
        for sentence in self.reasons() if self._found != before else ():
            log.error("%s", sentence)
        left = {orphan.mark for orphan in self._found}
        for mark, folder in {(orphan.mark, orphan.temporary) for orphan in before if orphan.mark not in left}:
            if folder is not None:
                await lanes.run(LANE, temporary.remove, folder, mark)


def _sentence(job: str, members: list[Orphan]) -> str:
    pids = ", ".join(str(orphan.process.pid) for orphan in members)
    which = f"process {pids} is" if len(members) == 1 else f"processes {pids} are"
    gpus = ", ".join(dict.fromkeys(gpu for orphan in members for gpu in orphan.gpus))
    keeps = f" on GPU {gpus}" if gpus else ""
    return (
        f"The job {job} is no longer in the home, but its {which} still running{keeps}; `fluxgymctl stop {job}` "
        "stops the job."
    )
