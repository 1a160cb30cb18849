# SPDX-License-Identifier: Apache-2.0
"""How an attempt comes to run (DESIGN: An attempt): reserve, spawn, place, and only then open the gate.

Each step is in the journal before the next one, so whatever the daemon dies between is found again: until the gate is
open nothing was started, and a closed gate makes the shim leave by itself.
"""

import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from fluxgym.config import Config
from fluxgym.errors import StorageFailed
from fluxgym.messages import Context, FailureKind, Kind
from fluxgymd import lanes
from fluxgymd.attempts.port import Adapter, Gate, Refused
from fluxgymd.core import events
from fluxgymd.core.job import Attempt, Job, Starting, Waiting
from fluxgymd.core.records import Place
from fluxgymd.core.resume import Begin, Impossible
from fluxgymd.engine import monitor, resuming
from fluxgymd.engine.book import Book, Entry
from fluxgymd.engine.spec import attempt_spec, unit_name
from fluxgymd.failpoints import failpoint
from fluxgymd.store import result
from fluxgymd.store.atomic import sync_folder, write_file
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers import kohya
from fluxgymd.trainers.progress import size

log = logging.getLogger(__name__)


class Abandoned(Exception):
    """No attempt was made: the job no longer waits as it did, or cannot be started as it is."""


class Starter:
    def __init__(
        self,
        book: Book,
        adapter: Adapter,
        here: Place,
        config: Config,
        *,
        paused: Callable[[], bool],
        home_problem: Callable[[], str | None],
    ) -> None:
        """`paused`: whether the queue is. `home_problem`: why nothing may be started in this home at present."""
        self._paused = paused
        self._home_problem = home_problem
        self._book = book
        self._adapter = adapter
        self._here = here
        self._config = config

    async def start(self, entry: Entry, gpus: tuple[str, ...], *, reserved: Callable[[], object]) -> None:
        """Returns when the gate is open, or the attempt was given up before; its evidence tells which. `reserved` is
        called when its lease is in the journal. Abandoned or StorageFailed: no attempt was made."""
        failpoint("attempt.begins")
        entry.withheld = None
        attempt = await self._reserve(entry, gpus)
        failpoint("attempt.reserved")
        reserved()
        assert entry.job is not None
        spec = attempt_spec(entry.job, attempt, entry.folder, self._config, os.environ)
        await monitor.note(entry.folder, f"attempt {attempt.number} starts as {attempt.unit}")
        try:
            await self._book.disk(lambda: _prepare(entry, attempt))
            failpoint("attempt.prepared")
            gate = await self._adapter.spawn(spec)
            try:
                failpoint("attempt.spawned")
                await self._book.record(entry, events.Spawned(at=time.time(), attempt=attempt.number, shim=gate.shim))
                failpoint("attempt.spawn_recorded")
                placement = await self._adapter.place(spec, gate)
                failpoint("attempt.placed")
                await self._book.record(
                    entry, events.Placed(at=time.time(), attempt=attempt.number, placement=placement)
                )
                failpoint("attempt.place_recorded")
                self._open(entry, gate)
                failpoint("attempt.opened")
            finally:
                gate.close()
            entry.start_problem = None
        except (Refused, StorageFailed) as error:
            entry.start_problem = str(error)
            log.error("%s: attempt %d was not started: %s", entry.name, attempt.number, error)

    def _open(self, entry: Entry, gate: Gate) -> None:
        # A stop or a pause may have come meanwhile, and may have been answered, and another daemon may have the home:
        # then the gate is closed unopened and nothing was started.
        if (problem := self._home_problem()) is not None:
            entry.withheld = problem
        elif self._paused():
            entry.withheld = "The queue was paused before it was started."
        elif entry.job is not None and isinstance(entry.job.state, Starting):
            gate.open()

    async def _reserve(self, entry: Entry, gpus: tuple[str, ...]) -> Attempt:
        assert entry.job is not None
        folder, context = entry.folder, entry.job.context
        beginning = await lanes.run(entry.name, self._begin, context, folder)
        for note in beginning.notes:
            await monitor.note(folder, note)
        before = await lanes.run(entry.name, result.stamp, self._result_file(entry))

        def reserve(job: Job) -> events.Reserved | events.Barred:
            if not isinstance(job.state, Waiting):
                raise Abandoned("it does not wait any more")
            if job.held:
                raise Abandoned("it was put on hold while its start was prepared")
            if (problem := self._home_problem()) is not None:
                raise Abandoned(problem)
            if self._paused():
                raise Abandoned("the queue was paused while its start was prepared")
            if job.context != context:
                raise Abandoned("its settings were changed while its start was prepared")
            if isinstance(beginning.where, Impossible):
                return events.Barred(
                    at=time.time(), reason=beginning.where.sentence, failure=FailureKind.NOT_RESUMABLE.value
                )
            number = job.attempts + 1
            return events.Reserved(
                at=time.time(),
                attempt=number,
                adapter=self._adapter.name,
                unit=unit_name(job, number, self._adapter.name),
                mark=secrets.token_hex(16),
                place=self._here,
                gpus=list(gpus),
                log_offset=size(folder.log),
                metrics_offset=size(folder.metrics),
                resumed_from=beginning.resumed_from,
                step=beginning.step,
                set_aside=beginning.set_aside,
                final_before=before,
            )

        job = await self._book.decide(entry, reserve)
        if isinstance(beginning.where, Impossible):
            await monitor.note(folder, f"it cannot be started: {beginning.where.sentence}")
            raise Abandoned(beginning.where.sentence)
        assert isinstance(job.state, Starting)
        return job.state.attempt

    def _begin(self, context: Context, folder: JobFolder) -> resuming.Beginning:
        if context.kind is Kind.PROGRAM:
            return resuming.Beginning(where=Begin())
        return resuming.prepare(context, folder, trainer=kohya.trainer_at(self._config.trainer_path))

    @staticmethod
    def _result_file(entry: Entry) -> Path:
        assert entry.job is not None
        is_program = entry.job.context.kind is Kind.PROGRAM
        return entry.folder.program_result if is_program else entry.folder.result


def _prepare(entry: Entry, attempt: Attempt) -> None:
    """Makes the attempt's folder, and writes what the trainer reads with the paths of today. Blocks."""
    folder = entry.folder.attempt(attempt.number)
    folder.mkdir(mode=0o700, parents=True)
    failpoint("attempt.folder_made")
    sync_folder(folder.parent)
    sync_folder(entry.folder.path)
    failpoint("attempt.folder_durable")
    assert entry.job is not None
    context = entry.job.context
    if context.kind is not Kind.PROGRAM:
        write_file(entry.folder.dataset_config, kohya.dataset_config(context, entry.folder.dataset))
        write_file(entry.folder.sample_prompts, kohya.sample_prompts(context))  # they may have been edited
