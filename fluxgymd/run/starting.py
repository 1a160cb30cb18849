# SPDX-License-Identifier: Apache-2.0
"""Starts an attempt: reserves its GPUs, spawns the shim, places it, and only then opens its gate (attempts/port.py).

Each step is in the journal before the next one begins, so a daemon that restarts in between finds the attempt again.
Until the gate is open the trainer has not been started, and a shim whose gate is closed unopened exits on its own.
"""

import logging
import os
import secrets
import shlex
import time
from collections.abc import Callable, Sequence

from fluxgym.config import Config
from fluxgym.errors import StorageFailed
from fluxgymd.attempts import temporary
from fluxgymd.attempts.port import Gate, Refused
from fluxgymd.background import lanes
from fluxgymd.core.job import Attempt, Job, Starting, Waiting
from fluxgymd.core.journal import events
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs import monitor
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.jobs.spec import attempt_spec, unit_name
from fluxgymd.run import preflight, resuming
from fluxgymd.run.attempt_adapters import AttemptAdapters
from fluxgymd.run.places import Places
from fluxgymd.snapshots import subsets
from fluxgymd.store.atomic import sync_folder, write_file
from fluxgymd.store.formats import result
from fluxgymd.store.home import COMMAND, JobFolder
from fluxgymd.trainers.choice import Trainers
from fluxgymd.trainers.port import Trainer
from fluxgymd.trainers.progress.appended import End, end_of

log = logging.getLogger(__name__)


class Abandoned(Exception):
    """No attempt was made: the job no longer waits as it did, or cannot be started as it is."""


class Starter:
    def __init__(
        self,
        registry: Registry,
        adapters: AttemptAdapters,
        config: Config,
        trainers: Trainers,
        *,
        paused: Callable[[], bool],
        home_problem: Callable[[], str | None],
    ) -> None:
        """`paused`: whether the queue is paused. `home_problem`: why nothing may be started in this home now."""
        self._paused = paused
        self._home_problem = home_problem
        self._registry = registry
        self._adapters = adapters
        self._config = config
        self._trainers = trainers
        self._places = Places(registry, config)

    async def start(self, entry: Entry, gpus: tuple[str, ...], *, reserved: Callable[[], object]) -> None:
        """Returns when the gate is open, or when the attempt was given up before that; its evidence says which.
        `reserved` is called once the lease is in the journal. Abandoned or StorageFailed: no attempt was made."""
        failpoint("attempt.begins")
        entry.now.withheld = None
        attempt = await self._reserve(entry, gpus)
        failpoint("attempt.reserved")
        reserved()
        trainer = self._trainers.of(entry.known.context)
        await monitor.note(entry.folder, f"attempt {attempt.number} is starting as {attempt.unit}")
        try:
            environ = await self._places.environment(entry, attempt)
            spec = attempt_spec(trainer, entry.known, attempt, entry.folder, self._config, environ)
            await self._registry.disk(lambda: _prepare(trainer, entry, attempt, spec.argv))
            failpoint("attempt.prepared")
            gate = await self._adapters.for_new.spawn(spec)
            try:
                failpoint("attempt.spawned")
                await self._registry.record(
                    entry, events.Spawned(at=time.time(), attempt=attempt.number, shim=gate.shim)
                )
                failpoint("attempt.spawn_recorded")
                placement = await self._adapters.for_new.place(spec, gate)
                failpoint("attempt.placed")
                await self._registry.record(
                    entry, events.Placed(at=time.time(), attempt=attempt.number, placement=placement)
                )
                failpoint("attempt.place_recorded")
                self._open(entry, gate)
                failpoint("attempt.opened")
            finally:
                gate.close()
            entry.now.start_problem = None
        except (Refused, StorageFailed) as error:
            entry.now.start_problem = str(error)
            log.error("%s: attempt %d was not started: %s", entry.name, attempt.number, error)

    def _open(self, entry: Entry, gate: Gate) -> None:
        # Meanwhile a stop or a pause may have been acknowledged, or another daemon may have taken the home. Then the
        # gate is closed unopened, and the trainer is not started.
        if (problem := self._home_problem()) is not None:
            entry.now.withheld = problem
        elif self._paused():
            entry.now.withheld = "The queue was paused before the job was started."
        elif entry.job is not None and isinstance(entry.job.state, Starting) and entry.stop_unrecorded is None:
            gate.open()

    async def _reserve(self, entry: Entry, gpus: tuple[str, ...]) -> Attempt:
        folder, context, copied = entry.folder, entry.known.context, entry.known.copied
        await self._trainers.look()
        trainer = self._trainers.of(context)
        pictures = subsets.folders(context, folder.dataset)
        outlook = await resuming.look(trainer, context, folder, pictures=pictures, copied=copied)
        beginning = await lanes.run(entry.name, resuming.prepare, trainer, context, folder, outlook)
        reason = " ".join(problem.sentence for problem in beginning.problems)
        for note in beginning.notes:
            await monitor.note(folder, note)
        before = await lanes.run(entry.name, result.stamp, trainer.traits.result_file(folder))
        log, metrics = await lanes.run(entry.name, _ends, folder)
        mark = secrets.token_hex(16)
        temporary_files = await lanes.run(entry.name, temporary.choose, mark, os.environ)

        def reserve(job: Job) -> events.Reserved | events.Barred:
            if not isinstance(job.state, Waiting):
                raise Abandoned("it is no longer waiting")
            if job.held:
                raise Abandoned("it was put on hold while its start was being prepared")
            if (problem := self._home_problem()) is not None:
                raise Abandoned(problem)
            if self._paused():
                raise Abandoned("the queue was paused while its start was being prepared")
            if job.context != context:
                raise Abandoned("its settings were changed while its start was being prepared")
            if beginning.problems:
                kind = preflight.failure(beginning.problems)
                return events.Barred(at=time.time(), reason=reason, failure=kind.value)
            number, adapter = job.attempts + 1, self._adapters.for_new.name
            return events.Reserved(
                at=time.time(),
                attempt=number,
                adapter=adapter,
                unit=unit_name(job, number, adapter),
                mark=mark,
                place=self._adapters.here,
                gpus=list(gpus),
                log_offset=log.size,
                metrics_offset=metrics.size,
                log_inode=log.inode,
                metrics_inode=metrics.inode,
                resumed_from=beginning.resumed_from,
                step=beginning.step,
                set_aside=beginning.set_aside,
                final_before=before,
                temporary=str(temporary_files) if temporary_files is not None else None,
            )

        job = await self._registry.decide(entry, reserve)
        if beginning.problems:
            await monitor.note(folder, f"it cannot be started: {reason}")
            raise Abandoned(reason)
        assert isinstance(job.state, Starting)
        return job.state.attempt


def _ends(folder: JobFolder) -> tuple[End, End]:
    """The ends of training.log and metrics.jsonl. StorageFailed names the one that cannot be written. Blocks."""
    try:
        return end_of(folder.log), end_of(folder.metrics)
    except OSError as error:
        where = error.filename or folder.path
        raise StorageFailed(f"{where} cannot be written: {error.strerror or error}.") from error


def _prepare(trainer: Trainer, entry: Entry, attempt: Attempt, argv: Sequence[str]) -> None:
    """Makes the attempt's folder, writes the command line into it, and the trainer's files. Blocks."""
    folder = entry.folder.attempt(attempt.number)
    folder.mkdir(mode=0o700, parents=True)
    failpoint("attempt.folder_made")
    sync_folder(folder.parent)
    sync_folder(entry.folder.path)
    failpoint("attempt.folder_durable")
    for name, data in trainer.files(entry.known.context, entry.folder).items():
        write_file(entry.folder.path / name, data)  # its settings may have been edited
    write_file(folder / COMMAND, os.fsencode(f"{shlex.join(argv)}\n"))
