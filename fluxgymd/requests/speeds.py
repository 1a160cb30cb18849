# SPDX-License-Identifier: Apache-2.0
"""How fast this machine's trainings were, by what they reported last."""

from contextlib import suppress

from fluxgym.errors import StorageFailed
from fluxgym.protocol.messages import Kind
from fluxgymd.background import lanes
from fluxgymd.core.job import Attempt
from fluxgymd.core.measures import duration
from fluxgymd.core.measures.duration import Run
from fluxgymd.core.schedule import kind_of
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.trainers.choice import Trainers

MOST_JOBS = 100
"""The newest jobs that are looked at: each one's progress is read once, and kept."""


class Speeds:
    def __init__(self, registry: Registry, trainers: Trainers, machine_id: str) -> None:
        self._registry = registry
        self._trainers = trainers
        self._machine_id = machine_id

    async def measured(self, gpu_names: dict[str, str]) -> list[Run]:
        """The newest trainings of this machine that have done steps. `gpu_names`: by UUID."""
        found = []
        for entry in self._registry.newest(limit=MOST_JOBS):
            job = entry.job
            if job is None or job.last is None or kind_of(job.context) is not Kind.TRAINING:
                continue
            gpu = self._gpu(job.last, gpu_names)
            seconds = await self._seconds(entry, job.last) if gpu is not None else None
            if gpu is not None and seconds:
                found.append(Run(shape=duration.shape_of(job.context, gpu=gpu), seconds_per_step=seconds))
        return found

    def _gpu(self, attempt: Attempt, names: dict[str, str]) -> str | None:
        """The name of the GPU on which the attempt ran, empty for the CPU; None if that is not known here."""
        if attempt.place.machine_id != self._machine_id:
            return None
        found = {names.get(uuid) for uuid in attempt.gpus} or {""}
        return found.pop() if len(found) == 1 else None

    async def _seconds(self, entry: Entry, attempt: Attempt) -> float | None:
        """Seconds per step, as the attempt reported last. What is read is kept with the entry, as Describe does."""
        if entry.now.progress is None and entry.job is not None:
            reader = self._trainers.of(entry.job.context).progress(entry.folder, attempt)
            with suppress(StorageFailed):
                await lanes.answer(str(entry.folder.path), reader.read)
                entry.now.progress = reader.progress
        return entry.now.progress.seconds_per_step if entry.now.progress is not None else None
