# SPDX-License-Identifier: Apache-2.0
"""org.fluxgym.Datasets: each method passes its parameters on, and turns the result into messages."""

import time
from contextlib import aclosing
from pathlib import Path

from fluxgym.errors import InvalidName, InvalidValue, NoSuchDataset, StorageFailed
from fluxgym.names import check_name
from fluxgym.protocol import dataset_methods as m
from fluxgym.protocol.dataset_messages import RemovedDataset, Replacement
from fluxgym.protocol.messages import Context, Revision, TriggerPlace
from fluxgym.protocol.methods import Nothing
from fluxgym.quoting import short
from fluxgymd.api.calls import Route, Send
from fluxgymd.background import lanes
from fluxgymd.core.datasets import changing
from fluxgymd.core.datasets.changing import no_such_picture
from fluxgymd.core.datasets.dataset import Dataset
from fluxgymd.core.datasets.events import Edited, Undone
from fluxgymd.core.datasets.findings import findings
from fluxgymd.datasets import view
from fluxgymd.datasets.adding import Adder, is_known
from fluxgymd.datasets.datasets import LANE, Datasets
from fluxgymd.datasets.loading import Damaged, Stored
from fluxgymd.datasets.purging import Purger
from fluxgymd.datasets.thumbnails import Thumbnails
from fluxgymd.pictures import small_copies
from fluxgymd.pictures.lines import AnyLine, Note, RejectedFile, Wishes
from fluxgymd.snapshots.captions import written
from fluxgymd.trainers.choice import Trainers

MOST_CHANGES = 1000
"""How many changes Describe tells; each is a sentence."""
RESOLUTION = 512
MOST_MEGAPIXELS = 200.0


class DatasetMethods:
    def __init__(
        self, datasets: Datasets, adder: Adder, purger: Purger, thumbnails: Thumbnails, trainers: Trainers
    ) -> None:
        self._trainers = trainers
        self._datasets = datasets
        self._adder = adder
        self._purger = purger
        self._thumbnails = thumbnails

    async def create(self, parameters: m.DatasetName, _: Send) -> m.OneDataset:
        return m.OneDataset(dataset=view.show(await self._datasets.create(parameters.name)))

    async def list_datasets(self, parameters: m.ListDatasetsParameters, send: Send) -> m.ListDatasetsReply:
        if parameters.removed:
            for removed in await self._datasets.trash():
                one = RemovedDataset(name=removed.name, removed_at=removed.removed_at)
                await send(m.ListDatasetsReply(removed=one))
            return m.ListDatasetsReply()
        for name in await self._datasets.names():
            home = str(self._datasets.folders.folder(name))
            try:
                check_name(name)
                shown = view.show(await self._datasets.find(name))
            except NoSuchDataset:
                continue  # it was removed meanwhile
            except InvalidName:
                shown = view.misnamed(name, home)
            except StorageFailed as error:  # its volume hangs; the others are shown
                shown = view.unread(name, home, error.message)
            await send(m.ListDatasetsReply(dataset=shown))
        return m.ListDatasetsReply()

    async def describe(self, parameters: m.DatasetName, _: Send) -> m.DescribeDatasetReply:
        found = await self._datasets.find(parameters.name)
        changes = view.changes(found.dataset) if isinstance(found, Stored) else []
        return m.DescribeDatasetReply(dataset=view.show(found), changes=changes[-MOST_CHANGES:])

    async def add(self, parameters: m.AddParameters, send: Send) -> m.AddReply:
        source, wishes = _source(parameters.path), _wishes(parameters)
        added = duplicates = problems = 0
        async with aclosing(self._adder.add(parameters.name, source, wishes)) as batches:
            async for stored, batch in batches:
                for line, name in batch:
                    added += name is not None
                    duplicates += is_known(line, name)
                    problems += isinstance(line, RejectedFile)
                    await send(_told(stored, line, name))
        return m.AddReply(added=added, duplicates=duplicates, problems=problems)

    async def pictures(self, parameters: m.PicturesParameters, send: Send) -> m.PicturesReply:
        found = await self._datasets.find(parameters.name)
        if isinstance(found, Damaged):
            raise found.error()
        shown = view.pictures(found)
        if parameters.picture is not None:
            known, shown = shown, [picture for picture in shown if picture.name == parameters.picture]
            if not shown:
                raise no_such_picture(parameters.name, parameters.picture, (picture.name for picture in known))
        place = TriggerPlace.FIRST if parameters.trigger_place is None else parameters.trigger_place
        if place is TriggerPlace.UNKNOWN:
            raise InvalidValue("triggerPlace has a value that this daemon does not know.", parameter="triggerPlace")
        job = Context(name="x", trigger_word=parameters.trigger_word, trigger_place=place)
        how = self._trainers.training.captions(job)
        alone = "" if place is TriggerPlace.NONE else parameters.trigger_word or ""
        for picture in shown:
            trained = written(picture.caption, how) or alone
            await send(m.PicturesReply(picture=picture, trained=trained))
        return m.PicturesReply()

    async def change(self, parameters: m.ChangeParameters, _: Send) -> m.ChangeReply:
        def choose(dataset: Dataset) -> Edited | None:
            return changing.edited(
                dataset, parameters.name, parameters.changes, revision=parameters.revision, now=time.time()
            )

        stored, _changed = await self._datasets.decide(parameters.name, choose, begin=self._adder.begin)
        shown = [view.show_picture(stored.dataset.pictures[change.picture]) for change in parameters.changes]
        return m.ChangeReply(dataset=view.show(stored), pictures=shown)

    async def replace(self, parameters: m.ReplaceParameters, _: Send) -> m.ReplaceReply:
        found: list[Replacement] = []

        def choose(dataset: Dataset) -> Edited | None:
            found[:] = changing.replacements(
                dataset,
                parameters.name,
                find=parameters.find,
                replace=parameters.replace,
                revision=parameters.revision,
            )
            return None if parameters.preview else changing.replaced(found, find=parameters.find, now=time.time())

        stored, _changed = await self._datasets.decide(parameters.name, choose, begin=self._adder.begin)
        return m.ReplaceReply(dataset=view.show(stored), replacements=found)

    async def undo(self, parameters: m.UndoParameters, _: Send) -> m.UndoReply:
        numbers: list[int] = []

        def choose(dataset: Dataset) -> Undone:
            event = changing.undone(dataset, parameters.name, parameters.change, now=time.time())
            numbers.append(event.change)
            return event

        stored, _changed = await self._datasets.decide(parameters.name, choose, begin=self._adder.begin)
        undone = next(change for change in stored.dataset.changes if change.number == numbers[-1])
        return m.UndoReply(dataset=view.show(stored), undone=view.show_change(undone))

    async def check(self, parameters: m.CheckParameters, _: Send) -> m.CheckReply:
        resolution = RESOLUTION if parameters.resolution is None else parameters.resolution
        if not 64 <= resolution <= 4096:
            raise InvalidValue(f"resolution is {resolution}, but must be from 64 to 4096.", parameter="resolution")
        stored = await self._adder.stored(parameters.name)
        found = await lanes.answer(f"{LANE}: {parameters.name}", findings, stored.dataset, resolution=resolution)
        return m.CheckReply(findings=found)

    async def watch(self, parameters: m.WatchDatasetsParameters, send: Send) -> m.WatchDatasetsReply:
        changes = self._datasets.changes
        if parameters.name is not None:
            await self._datasets.find(parameters.name)
        since = parameters.since
        if since is not None and changes.knows(since):
            number = since.number
        else:
            number = changes.revision.number
            for name in await self._datasets.names():
                if parameters.name in (None, name):
                    await self._tell(name, number, send)
        await send(m.WatchDatasetsReply(revision=self._revision(number)))
        while True:
            await changes.wait(number)
            changed, removed = changes.since(number)
            number = changes.revision.number
            for name in removed:
                if parameters.name in (None, name):
                    await send(m.WatchDatasetsReply(revision=self._revision(number), removed=name))
            for name in changed:
                if parameters.name in (None, name):
                    await self._tell(name, number, send)
            if parameters.name in removed:
                return m.WatchDatasetsReply(revision=self._revision(number))

    async def _tell(self, name: str, number: int, send: Send) -> None:
        try:
            shown = view.show(await self._datasets.find(name))
        except NoSuchDataset:
            return  # it was removed meanwhile, which follows
        except StorageFailed as error:  # as in a list
            shown = view.unread(name, str(self._datasets.folders.folder(name)), error.message)
        await send(m.WatchDatasetsReply(revision=self._revision(number), dataset=shown))

    def _revision(self, number: int) -> Revision:
        return Revision(instance=self._datasets.changes.instance, number=number)

    async def remove(self, parameters: m.RemoveDatasetParameters, _: Send) -> Nothing:
        if parameters.purge:
            await self._purger.purge(parameters.name)
        else:
            await self._datasets.remove(parameters.name)
        return Nothing()

    async def thumbnail(self, parameters: m.ThumbnailParameters, _: Send) -> m.ThumbnailReply:
        side = small_copies.SIDE if parameters.side is None else parameters.side
        if not 1 <= side <= small_copies.MOST:
            raise InvalidValue(f"side is {side}, but must be from 1 to {small_copies.MOST}.", parameter="side")
        path = await self._thumbnails.find(parameters.name, parameters.picture, side)
        return m.ThumbnailReply(path=str(path))

    async def restore(self, parameters: m.DatasetName, _: Send) -> m.OneDataset:
        return m.OneDataset(dataset=view.show(await self._datasets.restore(parameters.name)))

    def routes(self) -> list[Route]:
        return [
            Route(m.CREATE_DATASET, self.create),
            Route(m.LIST_DATASETS, self.list_datasets),
            Route(m.DESCRIBE_DATASET, self.describe),
            Route(m.ADD_PICTURES, self.add),
            Route(m.PICTURES, self.pictures),
            Route(m.CHANGE_PICTURES, self.change),
            Route(m.REPLACE_IN_CAPTIONS, self.replace),
            Route(m.UNDO, self.undo),
            Route(m.CHECK_DATASET, self.check),
            Route(m.THUMBNAIL, self.thumbnail),
            Route(m.WATCH_DATASETS, self.watch),
            Route(m.REMOVE_DATASET, self.remove),
            Route(m.RESTORE_DATASET, self.restore),
        ]


def _source(path: str) -> Path:
    if not path.startswith("/"):
        raise InvalidValue(f"path is {short(path)!r}, but must be an absolute path.", parameter="path")
    if "\0" in path:
        raise InvalidValue("path contains a NUL character, which a path cannot.", parameter="path")
    return Path(path)


def _wishes(parameters: m.AddParameters) -> Wishes:
    wishes = Wishes(subfolders=bool(parameters.subfolders))
    ending, most = parameters.caption_ending, parameters.most_megapixels
    if ending is not None and (not ending.startswith(".") or "/" in ending or "\0" in ending or len(ending) > 32):
        raise InvalidValue(
            f"captionEnding is {short(ending)!r}, but must be an ending such as .txt.", parameter="captionEnding"
        )
    if most is not None and not 0.01 <= most <= MOST_MEGAPIXELS:
        raise InvalidValue(
            f"mostMegapixels is {most:g}, but must be from 0.01 to {MOST_MEGAPIXELS:g}.", parameter="mostMegapixels"
        )
    return Wishes(
        subfolders=wishes.subfolders,
        caption_ending=wishes.caption_ending if ending is None else ending,
        most_megapixels=wishes.most_megapixels if most is None else most,
    )


def _told(stored: Stored, line: AnyLine, name: str | None) -> m.AddReply:
    """The reply about one line of the importer."""
    if isinstance(line, Note):
        return m.AddReply(note=line.sentence)
    file = getattr(line, "path", None)
    if isinstance(line, RejectedFile):
        return m.AddReply(file=file, problem=line.sentence)
    if is_known(line, name):
        return m.AddReply(file=file, duplicate=True)
    picture = stored.dataset.pictures.get(name or "")  # None if its import was undone meanwhile
    return m.AddReply(file=file, picture=view.show_picture(picture) if picture is not None else None)
