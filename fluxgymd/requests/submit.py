# SPDX-License-Identifier: Apache-2.0
"""A submit: checks everything that can be checked, builds the job's folder, and publishes it durably.

The answer is sent once the rename is on the disk (promise 3). A submit that fails before leaves nothing behind.
"""

import secrets
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from fluxgym.errors import FluxgymError, NameTaken, StorageFailed
from fluxgym.names import check_name
from fluxgym.protocol.messages import Context
from fluxgymd.background import lanes
from fluxgymd.core.disk.storage import OF_THE_WHOLE_DISK
from fluxgymd.core.journal import events
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs import loading
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.loading import LoadedJob
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests import origins
from fluxgymd.requests.copying import Copier
from fluxgymd.requests.naming import named_note, names, renamed_error, renamed_report
from fluxgymd.requests.origins import Origins
from fluxgymd.requests.sources import FromFolder, FromStore, Source, Sources
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.resuming import Origin, Outlook
from fluxgymd.snapshots import subsets
from fluxgymd.snapshots.contents import hash_of
from fluxgymd.snapshots.linked import Order
from fluxgymd.snapshots.snapshot import Snapshot
from fluxgymd.snapshots.subsets import Subset
from fluxgymd.store.atomic import sync_folder, write_file
from fluxgymd.store.home import JOURNAL, Home, JobFolder
from fluxgymd.trainers.choice import Trainers
from fluxgymd.trainers.port import CheckReport, Trainer


class Submitter:
    def __init__(
        self, registry: Registry, preflight: Preflight, trainers: Trainers, copier: Copier, sources: Sources
    ) -> None:
        self.sources = sources
        self.origins = Origins(registry, trainers)
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
            context, sources = await self.sources.resolve(context)
            context = self._trainers.of(context).complete(context, self._registry.home.path)
            context, origin = await self.origins.find(context)
            return await self._submit(context, sources, origin)
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

    async def _submit(
        self, context: Context, sources: tuple[Source, ...], origin: Origin | None
    ) -> tuple[Entry, list[str]]:
        folder = self._registry.home.folder(context.name)
        outlook = None
        if not any(isinstance(source, FromStore) for source in sources):
            given = tuple(Path(subset.dataset) for subset in subsets.of(context))
            outlook = await self._preflight.check(context, folder, pictures=given, origin=origin)
        trainer = self._trainers.of(context)
        job_id = secrets.token_hex(16)
        failpoint("submit.checked")
        built = await self._registry.disk(lambda: self._registry.home.new_folder(job_id))
        try:
            failpoint("submit.folder_made")
            snapshots = await self._pictures(sources, built / "dataset", trainer, context)
            copies = subsets.folders(context, built / "dataset")
            if outlook is None:
                outlook = await self._check_the_links(context, copies, origin)
            failpoint("submit.dataset_copied")
            report = outlook.report
            if any(snapshot.rewritten for snapshot in snapshots):
                report = await self._about_the_copy(context, copies, origin)
            if origin is not None:
                await self._registry.disk(lambda: origins.take(origin, built))
            now = time.time()
            number, rank = self._registry.queue_up(now)
            submitted = events.Submitted(
                at=now,
                id=job_id,
                context=context,
                priority=context.priority or 0,
                rank=rank,
                number=number,
                copied=_copied(snapshots, sources, context),
                step=(origin.facts.step or 0) if origin is not None else 0,
            )
            await self._registry.disk(lambda: _write(trainer, built, submitted))
            failpoint("submit.files_written")
            folder, found = await self._registry.disk(lambda: _publish(self._registry.home, built, context.name))
            failpoint("submit.published")
        except Exception:
            # Not if this task is cancelled: a thread may be publishing the folder at that moment. The next daemon
            # deletes the unfinished folder when it starts.
            await lanes.run(context.name, shutil.rmtree, built, ignore_errors=True)
            await self._registry.sweep_pictures()
            raise
        return self._registry.add(folder, found), _warnings(snapshots, trainer, context, report)

    async def _pictures(
        self, sources: Sequence[Source], target: Path, trainer: Trainer, context: Context
    ) -> tuple[Snapshot, ...]:
        """Gives the job its pictures and captions. Returns a snapshot of each subset."""
        if not sources:
            return ()
        made = [
            await self._copy(source, target, subset, trainer=trainer, context=context)
            for subset, source in zip(subsets.of(context), sources, strict=True)
        ]
        if context.parts is not None:
            await self._registry.disk(lambda: sync_folder(target))
        return tuple(made)

    async def _copy(
        self, source: Source, target: Path, subset: Subset, *, trainer: Trainer, context: Context
    ) -> Snapshot:
        """Copies the pictures and captions of one subset below `target`."""
        how, place = subset.captions(trainer.captions(context)), target / subset.place
        await self._registry.disk(lambda: place.parent.mkdir(mode=0o700, exist_ok=True))
        try:
            match source:
                case FromFolder(path=path):
                    shared = self._registry.home.shared_pictures if trainer.only_reads_pictures else None
                    snapshot = await self._copier.copy(path, place, how, shared=shared)
                    notes = tuple(named_note(note, subset) for note in snapshot.notes)
                case FromStore(name=name, items=items, notes=notes):
                    order = Order(items=items, captions=how, links=trainer.only_reads_pictures)
                    snapshot = await self._copier.link(order, place, name=name)
                    notes = (*notes, *snapshot.notes)
        except StorageFailed as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in OF_THE_WHOLE_DISK:
                raise
            raise StorageFailed(self._registry.disk_refused(cause)) from None
        return msgspec.structs.replace(snapshot, notes=notes)

    @asynccontextmanager
    async def pictures(self, context: Context, sources: Sequence[Source]) -> AsyncIterator[tuple[Path, ...]]:
        """The folders with the pictures of a job that is not submitted, for the length of a `with` block: the user's
        own, and built ones for stored datasets."""
        given = tuple(Path(subset.dataset) for subset in subsets.of(context))
        if not any(isinstance(source, FromStore) for source in sources):
            yield given
            return
        built = await self._registry.disk(lambda: self._registry.home.new_folder(secrets.token_hex(16)))
        copies, trainer = subsets.folders(context, built / "dataset"), self._trainers.of(context)
        try:
            for subset, source in zip(subsets.of(context), sources, strict=True):
                if isinstance(source, FromStore):
                    await self._copy(source, built / "dataset", subset, trainer=trainer, context=context)
            yield tuple(
                copy if isinstance(source, FromStore) else own
                for own, copy, source in zip(given, copies, sources, strict=True)
            )
        finally:
            await lanes.run(context.name, shutil.rmtree, built, ignore_errors=True)

    async def _check_the_links(self, context: Context, copies: tuple[Path, ...], origin: Origin | None) -> Outlook:
        """Checks a job with pictures from the store, with the names that their owner knows."""
        folder, known = self._registry.home.folder(context.name), names(context, copies)
        try:
            outlook = await self._preflight.check(context, folder, pictures=copies, origin=origin)
        except FluxgymError as error:
            raise renamed_error(error, known) from None
        return replace(outlook, report=renamed_report(outlook.report, known))

    async def _about_the_copy(self, context: Context, copies: tuple[Path, ...], origin: Origin | None) -> CheckReport:
        """What the trainer says about the captions as it will read them, with the names that their owner knows."""
        folder = self._registry.home.folder(context.name)
        report = (await self._preflight.examine(context, folder, pictures=copies, origin=origin)).report
        return renamed_report(report, names(context, copies))


def _write(trainer: Trainer, built: Path, submitted: events.Submitted) -> None:
    """Writes everything but the dataset, each file durably, and the journal last."""
    context = submitted.context
    for name, data in trainer.files(context, JobFolder(built.parent / context.name)).items():
        write_file(built / name, data)
    write_file(built / JOURNAL, events.encode(submitted))


def _copied(snapshots: Sequence[Snapshot], sources: Sequence[Source], context: Context) -> events.Copied | None:
    if not snapshots:
        return None
    parts = []
    for snapshot, source in zip(snapshots, sources, strict=True):
        name, revision = (source.name, source.revision) if isinstance(source, FromStore) else (None, None)
        pictures, hashed = snapshot.pictures, snapshot.names
        parts.append(events.CopiedPart(pictures=pictures, names=hashed, dataset=name, revision=revision))
    if context.parts is None:
        (whole,) = parts
        return events.Copied(**msgspec.structs.asdict(whole))
    total, hashed = sum(part.pictures for part in parts), hash_of(part.names for part in parts)
    return events.Copied(pictures=total, names=hashed, parts=tuple(parts))


def _publish(home: Home, built: Path, name: str) -> tuple[JobFolder, LoadedJob]:
    """Publishes the folder, and reads the job from it."""
    try:
        folder = home.publish(built, name)
    except FileExistsError:
        raise _taken(home.folder(name).path, name) from None
    return folder, loading.read(folder)


def _taken(folder: Path, name: str) -> NameTaken:
    return NameTaken(f"{folder} exists but is not a job; move it away, or choose another name.", name=name)


def _warnings(snapshots: Sequence[Snapshot], trainer: Trainer, context: Context, report: CheckReport) -> list[str]:
    warnings = [note for snapshot in snapshots for note in snapshot.notes]
    warnings += [warning.sentence for warning in report.warnings]
    if report.read_captions:
        return warnings
    for subset, snapshot in zip(subsets.of(context), snapshots, strict=False):  # a program has no snapshot
        if snapshot.without_caption:
            text = subset.fallback(context, trainer.captions(context))
            what = "an empty caption"
            if text:
                what = f"the caption {text!r}" if subset.caption else f"the trigger word {text!r}"
            count = f"{snapshot.without_caption} of {snapshot.pictures} pictures have no caption"
            warnings.append(named_note(f"{count}; {what} is used for them.", subset))
    return warnings
