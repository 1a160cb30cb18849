# SPDX-License-Identifier: Apache-2.0
"""Deletes the older checkpoints of a job that does not run, but never the one that it will resume from."""

from fluxgym.errors import InvalidSetting
from fluxgymd.core.job import Final, Job, Live, Waiting
from fluxgymd.core.resume import GoOn, choose, surplus
from fluxgymd.jobs import monitor
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.verbs import wrong_state
from fluxgymd.run.runner import Runner
from fluxgymd.store import checkpoints
from fluxgymd.store.caches.own_bytes import own_bytes
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.choice import Trainers
from fluxgymd.trainers.port import Trainer


class Pruner:
    def __init__(self, registry: Registry, runner: Runner, trainers: Trainers) -> None:
        self._registry = registry
        self._runner = runner
        self._trainers = trainers

    async def prune(self, name: str, keep: int) -> tuple[list[str], int]:
        """Deletes all complete checkpoints but the newest `keep`. Returns the names of those that were deleted, the
        oldest first, and how many bytes that freed. WrongState if the job runs, or if it waits and would be left
        without a checkpoint."""
        if keep < 0:
            raise InvalidSetting(f"keep is {keep}, but must be at least 0.", setting="keep")
        entry, job = self._registry.sound(name)
        if isinstance(job.state, Final):
            await self._runner.settled(name)

        def check(job: Job) -> None:
            if isinstance(job.state, Live) or self._runner.busy(name):
                raise wrong_state(job, "its checkpoints can't be deleted while it runs; stop it first")
            if keep == 0 and isinstance(job.state, Waiting):
                raise wrong_state(job, "it will resume from its newest checkpoint; keep at least 1, or stop it first")

        folder, trainer = entry.folder, self._trainers.of(job.context)

        def work() -> tuple[list[str], int]:
            return _delete(trainer, job, folder, keep)

        deleted, freed = await self._registry.undisturbed(entry, check, work)
        if deleted:
            await monitor.note(folder, f"these checkpoints were deleted on request: {', '.join(deleted)}")
        return deleted, freed


def _delete(trainer: Trainer, job: Job, folder: JobFolder, keep: int) -> tuple[list[str], int]:
    """Blocks."""
    found = trainer.checkpoints(job.context, folder)
    where = choose(found)
    needed = where.checkpoint.name if keep and isinstance(where, GoOn) else None
    names = [checkpoint.name for checkpoint in surplus(found, keep=keep, needed=needed)]
    freed = 0
    for name in reversed(names):  # the oldest first
        size = own_bytes(folder.path / name)
        checkpoints.delete(folder.path / name)
        freed += size
    return names[::-1], freed
