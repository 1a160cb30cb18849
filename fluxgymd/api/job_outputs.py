# SPDX-License-Identifier: Apache-2.0
"""The methods of org.fluxgym.Jobs about what a job has written."""

from pathlib import Path

from fluxgym.errors import FileMissing, InvalidParameter
from fluxgym.protocol import output_methods as m
from fluxgym.protocol.messages import Context
from fluxgym.protocol.methods import JobName
from fluxgym.quoting import short
from fluxgymd.api.calls import Route, Send
from fluxgymd.api.metrics_stream import MetricsStream
from fluxgymd.background import lanes
from fluxgymd.jobs.entry import Entry
from fluxgymd.jobs.registry import Registry
from fluxgymd.outputs import files
from fluxgymd.outputs.log_search import LogSearch
from fluxgymd.pictures import small_copies
from fluxgymd.pictures.names import PICTURES
from fluxgymd.pictures.small_copies import SmallCopies
from fluxgymd.trainers.choice import Trainers
from fluxgymd.trainers.port import Trainer

FEWEST_POINTS = 10
MOST_POINTS = 10_000


class JobOutputs:
    def __init__(self, registry: Registry, trainers: Trainers, copies: SmallCopies) -> None:
        self._registry = registry
        self._trainers = trainers
        self._copies = copies

    async def files(self, parameters: JobName, _: Send) -> m.FilesReply:
        entry = self._registry.entry(parameters.name)
        trainer, context = self._of(entry)
        found = await lanes.answer(str(entry.folder.path), files.files, trainer, context, entry.folder)
        return m.FilesReply(files=found)

    async def samples(self, parameters: JobName, _: Send) -> m.SamplesReply:
        entry = self._registry.entry(parameters.name)
        trainer, context = self._of(entry)
        found = await lanes.answer(str(entry.folder.path), files.samples, trainer, context, entry.folder)
        return m.SamplesReply(samples=found)

    async def thumbnail(self, parameters: m.ThumbnailOfJobParameters, _: Send) -> m.ThumbnailOfJobReply:
        size = small_copies.SIDE if parameters.size is None else parameters.size
        if not 1 <= size <= small_copies.MOST:
            raise InvalidParameter(f"size is {size}, but must be from 1 to {small_copies.MOST}.", parameter="size")
        entry, file = self._registry.entry(parameters.name), parameters.file
        lane = f"the thumbnails of the job {entry.name}"  # so that slow pictures delay nothing else
        facts = await lanes.answer(lane, files.regular, entry.folder, file)
        if facts is None or Path(file).suffix.lower() not in PICTURES:
            raise FileMissing(
                f"{entry.name} has no picture {short(file)}; `fluxgymctl samples {entry.name}` lists its samples.",
                path=short(file),
            )
        source = entry.folder.path / file
        key = await lanes.answer(lane, small_copies.version, source)
        return m.ThumbnailOfJobReply(path=str(await self._copies.of(source, key, size, lane=lane)))

    async def metrics(self, parameters: m.MetricsParameters, send: Send) -> m.MetricsReply:
        points = parameters.points
        if points is not None and not FEWEST_POINTS <= points <= MOST_POINTS:
            raise InvalidParameter(
                f"points is {points}, but must be from {FEWEST_POINTS} to {MOST_POINTS}.", parameter="points"
            )
        entry = self._registry.entry(parameters.name)
        return await MetricsStream(entry, parameters.after, points).run(send, follow=bool(parameters.follow))

    async def search_log(self, parameters: m.SearchLogParameters, send: Send) -> m.SearchLogReply:
        entry = self._registry.entry(parameters.name)
        search = LogSearch(entry.folder.log, parameters.text, regex=bool(parameters.regex), after=parameters.after)
        while not search.done:
            for match in await lanes.answer(str(entry.folder.path), search.go_on):
                await send(m.SearchLogReply(match=match))
        return m.SearchLogReply()

    def _of(self, entry: Entry) -> tuple[Trainer, Context | None]:
        """The trainer of a job and its settings, which a damaged job may not have."""
        context = entry.job.context if entry.job is not None else None
        return self._trainers.of(context or Context(name=entry.name)), context

    def routes(self) -> list[Route]:
        return [
            Route(m.FILES, self.files),
            Route(m.SAMPLES, self.samples),
            Route(m.THUMBNAIL_OF_JOB, self.thumbnail),
            Route(m.METRICS, self.metrics),
            Route(m.SEARCH_LOG, self.search_log),
        ]
