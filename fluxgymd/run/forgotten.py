# SPDX-License-Identifier: Apache-2.0
"""Processes of jobs that are no longer in the home (attempts/strays.py). Their GPUs count as in use, and the user can
end them by the job's name.

A job in the book keeps its GPUs whatever happens to its folder, so only a daemon that was just started can find such
processes. It looks once, and continues to look while there are any.
"""

import logging
import time

from fluxgymd.attempts import strays, temporary
from fluxgymd.attempts.port import AttemptRef
from fluxgymd.attempts.process import ProcessAdapter
from fluxgymd.attempts.strays import Stray
from fluxgymd.core.job import Live
from fluxgymd.core.records import Place
from fluxgymd.jobs.registry import Book
from fluxgymd.work import lanes

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two looks; each reads the environment of every process on this machine."""
LANE = "forgotten"


class Forgotten:
    def __init__(self, book: Book, here: Place, *, stop_limit: float) -> None:
        """`stop_limit`: seconds from a stop's SIGTERM to its SIGKILL."""
        self._book = book
        self._here = here
        # Finds processes by their marks, which both adapters set. Only the lost journal knew the cgroup of a scope.
        self._adapter = ProcessAdapter(stop_limit=stop_limit)
        self._found: list[Stray] | None = None
        self._next_look = 0.0

    async def gpus(self) -> frozenset[str]:
        """The GPUs that these processes use."""
        if (self._found is None or self._found) and time.monotonic() >= self._next_look:
            await self._look()
        return frozenset(gpu for stray in self._found or () for gpu in stray.gpus)

    async def of(self, job: str) -> list[Stray]:
        """The processes of the job of this name, as of now."""
        if self._found is None or self._found:
            await self._look()
        return [stray for stray in self._found or () if stray.job == job]

    async def stop(self, job: str) -> bool:
        """Ends the processes of the job of this name: SIGTERM now, SIGKILL at the limit. False if there are none."""
        found = await self.of(job)
        for mark in {stray.mark for stray in found}:
            unit, folder = f"{LANE}-{mark}", self._book.home.folder(job).path
            await self._adapter.stop(
                AttemptRef(unit=unit, folder=folder, mark=mark, place=self._here, shim=None, placement=None)
            )
        return bool(found)

    def reasons(self) -> list[str]:
        """A sentence for each job that runs without being in the home."""
        found: dict[str, list[Stray]] = {}
        for stray in self._found or ():
            if not self._is_damaged(stray.job):  # else the job is in the home, and only its journal can't be read
                found.setdefault(stray.job, []).append(stray)
        return [_sentence(job, members) for job, members in found.items()]

    def _is_damaged(self, job: str) -> bool:
        return self._book.has(job) and self._book.entry(job).damage is not None

    async def _look(self) -> None:
        marks = {job.state.attempt.mark for job in self._book.jobs() if isinstance(job.state, Live)}
        before = self._found or []
        self._found = await lanes.run(LANE, strays.find, self._book.home.outputs, marks)
        self._next_look = time.monotonic() + LOOK_SECONDS
        for sentence in self.reasons() if self._found != before else ():
            log.error("%s", sentence)
        left = {stray.mark for stray in self._found}
        for mark, folder in {(stray.mark, stray.temporary) for stray in before if stray.mark not in left}:
            if folder is not None:
                await lanes.run(LANE, temporary.remove, folder, mark)


def _sentence(job: str, members: list[Stray]) -> str:
    pids = ", ".join(str(stray.process.pid) for stray in members)
    which = f"process {pids} of it runs" if len(members) == 1 else f"processes {pids} of it run"
    gpus = ", ".join(dict.fromkeys(gpu for stray in members for gpu in stray.gpus))
    keeps = f" and keep{'s' if len(members) == 1 else ''} the GPU {gpus}" if gpus else ""
    return f"The job {job} is not in the home any more, but {which}{keeps}: `fluxgymctl stop {job}` ends that."
