# SPDX-License-Identifier: Apache-2.0
"""A submit: checks everything that can be checked, builds the job's folder, and publishes it durably.

The answer is sent once the rename is on the disk (promise 3). A submit that fails before leaves nothing behind.
"""

import secrets
import shutil
import time
from dataclasses import replace
from pathlib import Path

from fluxgym.errors import NameTaken
from fluxgym.messages import Context, TriggerPlace
from fluxgym.names import check_name
from fluxgymd.background import lanes
from fluxgymd.core import events
from fluxgymd.datasets.snapshot import Snapshot
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs import loading
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.loading import LoadedJob
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.copying import Copier
from fluxgymd.run.preflight import Preflight
from fluxgymd.store.atomic import write_file
from fluxgymd.store.home import JOURNAL, Home, JobFolder
from fluxgymd.trainers.choice import Trainers
from fluxgymd.trainers.port import CheckReport, Trainer


class Submitter:
    def __init__(self, registry: Registry, preflight: Preflight, trainers: Trainers, copier: Copier) -> None:
        self._registry = registry
        self._copier = copier
        self._trainers = trainers
        self._preflight = preflight
        self._under_way: set[str] = set()

    async def submit(self, context: Context) -> tuple[Entry, list[str]]:
        """The new job, and warnings for its owner. A FluxgymError says what is wrong; then there is no job."""
        name = self.check_name(context.name)
        self._under_way.add(name)
        try:
            return await self._submit(self._trainers.of(context).complete(context, self._registry.home.path))
        finally:
            self._under_way.discard(name)

    def check_name(self, name: str) -> str:
        """The name, if a new job can have it. InvalidName or NameTaken."""
        check_name(name)
        if self._registry.has(name) or name in self._under_way:
            raise NameTaken(f"A job named {name} already exists; choose another name, or remove it first.", name=name)
        folder = self._registry.home.folder(name).path
        if folder.exists() or folder.is_symlink():
            raise _taken(folder, name)
        return name

    async def _submit(self, context: Context) -> tuple[Entry, list[str]]:
        source = Path(str(context.dataset))
        outlook = await self._preflight.check(context, self._registry.home.folder(context.name), dataset=source)
        trainer = self._trainers.of(context)
        job_id = secrets.token_hex(16)
        failpoint("submit.checked")
        built = await self._registry.disk(lambda: self._registry.home.new_folder(job_id))
        try:
            failpoint("submit.folder_made")
            snapshot = Snapshot()
            if trainer.traits.takes_dataset:
                snapshot = await self._copier.copy(source, built / "dataset", trainer.captions(context))
            failpoint("submit.dataset_copied")
            report = outlook.report
            if snapshot.rewritten:
                report = await self._about_the_copy(context, source, built / "dataset")
            now = time.time()
            number, rank = self._registry.queue_up(now)
            submitted = events.Submitted(
                at=now,
                id=job_id,
                context=context,
                priority=context.priority or 0,
                rank=rank,
                number=number,
                copied=_copied(snapshot),
            )
            await self._registry.disk(lambda: _write(trainer, built, submitted))
            failpoint("submit.files_written")
            folder, found = await self._registry.disk(lambda: _publish(self._registry.home, built, context.name))
            failpoint("submit.published")
        except Exception:
            # Not if this task is cancelled: a thread may be publishing the folder at that moment. The next daemon
            # deletes the unfinished folder when it starts.
            await lanes.run(context.name, shutil.rmtree, built, ignore_errors=True)
            raise
        return self._registry.add(folder, found), _warnings(snapshot, context, report)

    async def _about_the_copy(self, context: Context, source: Path, copy: Path) -> CheckReport:
        """What the trainer says about the captions as it will read them, with the names that their owner knows."""
        folder = self._registry.home.folder(context.name)
        report = (await self._preflight.examine(context, folder, dataset=copy)).report
        warnings = tuple(
            replace(warning, sentence=warning.sentence.replace(str(copy), str(source))) for warning in report.warnings
        )
        return replace(report, warnings=warnings)


def _write(trainer: Trainer, built: Path, submitted: events.Submitted) -> None:
    """Writes everything but the dataset, each file durably, and the journal last."""
    context = submitted.context
    for name, data in trainer.files(context, JobFolder(built.parent / context.name)).items():
        write_file(built / name, data)
    write_file(built / JOURNAL, events.encode(submitted))


def _copied(snapshot: Snapshot) -> events.Copied | None:
    return events.Copied(pictures=snapshot.pictures, names=snapshot.names) if snapshot.pictures else None


def _publish(home: Home, built: Path, name: str) -> tuple[JobFolder, LoadedJob]:
    """Publishes the folder, and reads the job from it."""
    try:
        folder = home.publish(built, name)
    except FileExistsError:
        raise _taken(home.folder(name).path, name) from None
    return folder, loading.read(folder)


def _taken(folder: Path, name: str) -> NameTaken:
    return NameTaken(f"{folder} exists but is not a job; move it away, or choose another name.", name=name)


def _warnings(snapshot: Snapshot, context: Context, report: CheckReport) -> list[str]:
    warnings = [*snapshot.notes, *(warning.sentence for warning in report.warnings)]
    if snapshot.without_caption and not report.read_captions:
        placed = context.trigger_word and context.trigger_place is not TriggerPlace.NONE
        what = f"the trigger word {context.trigger_word!r}" if placed else "an empty caption"
        warnings.append(
            f"{snapshot.without_caption} of {snapshot.pictures} pictures have no caption; {what} is used for them."
        )
    return warnings
