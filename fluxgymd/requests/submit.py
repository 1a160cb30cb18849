# SPDX-License-Identifier: Apache-2.0
"""A submit: checks everything that can be checked, builds the job's folder, and publishes it durably.

The answer is sent once the rename is on the disk (promise 3). A submit that fails before leaves nothing behind.
"""

import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from fluxgym.errors import FluxgymError, NameTaken
from fluxgym.messages import Context, TriggerPlace
from fluxgym.names import check_name
from fluxgymd.background import lanes
from fluxgymd.core import events
from fluxgymd.datasets.linked import Order
from fluxgymd.datasets.snapshot import Snapshot
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs import loading
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.loading import LoadedJob
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.sources import FromFolder, FromStore, Source, Sources
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.resuming import Outlook
from fluxgymd.store.atomic import write_file
from fluxgymd.store.home import JOURNAL, Home, JobFolder
from fluxgymd.trainers.choice import Trainers
from fluxgymd.trainers.port import CheckReport, Trainer


class Submitter:
    def __init__(
        self, registry: Registry, preflight: Preflight, trainers: Trainers, copier: Copier, sources: Sources
    ) -> None:
        self.sources = sources
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
            context, source = await self.sources.resolve(context)
            context = self._trainers.of(context).complete(context, self._registry.home.path)
            return await self._submit(context, source)
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

    async def _submit(self, context: Context, source: Source | None) -> tuple[Entry, list[str]]:
        folder = self._registry.home.folder(context.name)
        outlook = None
        if not isinstance(source, FromStore):
            outlook = await self._preflight.check(context, folder, dataset=Path(str(context.dataset)))
        trainer = self._trainers.of(context)
        job_id = secrets.token_hex(16)
        failpoint("submit.checked")
        built = await self._registry.disk(lambda: self._registry.home.new_folder(job_id))
        try:
            failpoint("submit.folder_made")
            snapshot = await self._pictures(source, built / "dataset", trainer, context)
            if outlook is None:
                outlook = await self._check_the_links(context, built / "dataset")
            failpoint("submit.dataset_copied")
            report = outlook.report
            if snapshot.rewritten:
                report = await self._about_the_copy(context, built / "dataset")
            now = time.time()
            number, rank = self._registry.queue_up(now)
            submitted = events.Submitted(
                at=now,
                id=job_id,
                context=context,
                priority=context.priority or 0,
                rank=rank,
                number=number,
                copied=_copied(snapshot, source),
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

    async def _pictures(self, source: Source | None, target: Path, trainer: Trainer, context: Context) -> Snapshot:
        """Gives the job its pictures and captions."""
        how = trainer.captions(context)
        match source:
            case FromFolder(path=path) if trainer.traits.takes_dataset:
                return await self._copier.copy(path, target, how)
            case FromStore(name=name, parts=parts, notes=notes):
                order = Order(parts=parts, captions=how, links=trainer.only_reads_pictures)
                snapshot = await self._copier.link(order, target, name=name)
                return msgspec.structs.replace(snapshot, notes=(*notes, *snapshot.notes))
        return Snapshot()

    @asynccontextmanager
    async def pictures(self, context: Context, source: Source | None) -> AsyncIterator[Path]:
        """The folder with the pictures of a job that is not submitted, for the length of a `with` block."""
        if not isinstance(source, FromStore):
            yield Path(str(context.dataset))
            return
        built = await self._registry.disk(lambda: self._registry.home.new_folder(secrets.token_hex(16)))
        try:
            await self._pictures(source, built / "dataset", self._trainers.of(context), context)
            yield built / "dataset"
        finally:
            await lanes.run(context.name, shutil.rmtree, built, ignore_errors=True)

    async def _check_the_links(self, context: Context, copy: Path) -> Outlook:
        """Checks a job whose pictures come from the store, with the names that their owner knows."""
        folder = self._registry.home.folder(context.name)
        try:
            outlook = await self._preflight.check(context, folder, dataset=copy)
        except FluxgymError as error:
            raise type(error)(error.message.replace(str(copy), str(context.dataset)), **error.fields) from None
        return replace(outlook, report=_renamed(outlook.report, copy, str(context.dataset)))

    async def _about_the_copy(self, context: Context, copy: Path) -> CheckReport:
        """What the trainer says about the captions as it will read them, with the names that their owner knows."""
        folder = self._registry.home.folder(context.name)
        report = (await self._preflight.examine(context, folder, dataset=copy)).report
        return _renamed(report, copy, str(context.dataset))


def _renamed(report: CheckReport, copy: Path, name: str) -> CheckReport:
    """The report with the user's name for the pictures instead of the path of their copy."""
    warnings = tuple(
        replace(warning, sentence=warning.sentence.replace(str(copy), name)) for warning in report.warnings
    )
    return replace(report, warnings=warnings)


def _write(trainer: Trainer, built: Path, submitted: events.Submitted) -> None:
    """Writes everything but the dataset, each file durably, and the journal last."""
    context = submitted.context
    for name, data in trainer.files(context, JobFolder(built.parent / context.name)).items():
        write_file(built / name, data)
    write_file(built / JOURNAL, events.encode(submitted))


def _copied(snapshot: Snapshot, source: Source | None) -> events.Copied | None:
    if not snapshot.pictures:
        return None
    name, revision = (source.name, source.revision) if isinstance(source, FromStore) else (None, None)
    return events.Copied(pictures=snapshot.pictures, names=snapshot.names, dataset=name, revision=revision)


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
