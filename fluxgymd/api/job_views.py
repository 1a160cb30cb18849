# SPDX-License-Identifier: Apache-2.0
"""The methods of org.fluxgym.Jobs that leave jobs as they are. Each passes its parameters on, and turns the result
into messages.
"""

import asyncio
import time
from contextlib import suppress

from fluxgym.config import Config
from fluxgym.errors import InvalidParameter, StorageFailed
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Checkpoint, Context, Revision
from fluxgymd.api.calls import Route, Send
from fluxgymd.api.log_stream import LogStreams
from fluxgymd.background import lanes
from fluxgymd.core.checks import trainer_is_silent
from fluxgymd.core.journal.history import sentence
from fluxgymd.core.resume import progress
from fluxgymd.jobs.judgement import explained
from fluxgymd.jobs.registry import Registry
from fluxgymd.jobs.view import show
from fluxgymd.requests.export import Exporter
from fluxgymd.requests.plan import Planner
from fluxgymd.store import journal
from fluxgymd.trainers.choice import Trainers

PROGRESS_SECONDS = 2.0
"""How long Describe waits for progress that must be read from a disk, which may hang."""


class JobViews:
    def __init__(
        self, registry: Registry, trainers: Trainers, config: Config, *, planner: Planner, exporter: Exporter
    ) -> None:
        self._registry = registry
        self._trainers = trainers
        self._config = config
        self._planner = planner
        self._exporter = exporter
        self._logs = LogStreams()

    async def plan(self, parameters: m.SubmitParameters, send: Send) -> m.PlanReply:
        planned = await self._planner.plan(parameters.job)
        for bucket in planned.buckets:
            await send(m.PlanReply(bucket=bucket))
        for picture in planned.pictures:
            await send(m.PlanReply(picture=picture))
        return m.PlanReply(plan=planned.plan)

    async def list_jobs(self, parameters: m.ListParameters, send: Send) -> m.ListReply:
        _check_limit(parameters.limit)
        for entry in self._registry.newest(before=parameters.before, limit=parameters.limit):
            await send(m.ListReply(job=show(entry)))
        return m.ListReply()

    async def describe(self, parameters: m.JobName, _: Send) -> m.OneJob:
        entry = self._registry.entry(parameters.name)
        if entry.now.progress is None and entry.job is not None and entry.job.last is not None:
            # Usually it ended before this daemon started, which reads no progress of 10,000 old jobs unasked.
            reader = self._trainers.of(entry.job.context).progress(entry.folder, entry.job.last)
            with suppress(StorageFailed, TimeoutError):  # the rest is known without the disk
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await lanes.answer(str(entry.folder.path), reader.read)
                entry.now.progress = reader.progress
        return m.OneJob(job=show(entry))

    async def logs(self, parameters: m.LogsParameters, send: Send) -> m.LogsReply:
        offset, follow, limit = parameters.offset or 0, bool(parameters.follow), parameters.limit
        if limit is not None and limit < 1:
            raise InvalidParameter("limit must be at least 1.", parameter="limit")
        entry = self._registry.entry(parameters.name)
        return await self._logs.stream(entry, offset, follow=follow, send=send, limit=limit)

    async def watch(self, parameters: m.WatchParameters, send: Send) -> m.WatchReply:
        changes = self._registry.changes
        _check_limit(parameters.limit)
        if parameters.name is not None:
            self._registry.entry(parameters.name)
        if parameters.since is not None and changes.knows(parameters.since):
            number = parameters.since.number
        else:
            number = changes.revision.number
            for entry in reversed(self._registry.present(parameters.name, over=parameters.limit)):
                await send(m.WatchReply(revision=changes.revision, job=show(entry)))
        await send(m.WatchReply(revision=Revision(instance=changes.instance, number=number)))
        while True:
            await changes.wait(number)
            changed, removed = changes.since(number)
            revision = changes.revision
            number = revision.number
            for name in removed:
                if parameters.name in (None, name):
                    await send(m.WatchReply(revision=revision, removed=name))
            for name in changed:
                if parameters.name in (None, name) and self._registry.has(name):
                    await send(m.WatchReply(revision=revision, job=show(self._registry.entry(name))))
            if parameters.name in removed:
                return m.WatchReply(revision=revision)

    async def history(self, parameters: m.JobName, send: Send) -> m.HistoryReply:
        entry = self._registry.entry(parameters.name)
        if entry.older is not None:
            happened = list(entry.older.history)
        else:
            happened = await lanes.answer(str(entry.folder.path), journal.good_events, entry.folder.journal)
        for event in happened:
            await send(m.HistoryReply(at=event.at, text=sentence(event)))
        return m.HistoryReply()

    async def watchdog(self, parameters: m.JobName, _: Send) -> m.WatchdogReply:
        return explained(self._registry.entry(parameters.name), self._config, now=time.time())

    async def checkpoints(self, parameters: m.JobName, _: Send) -> m.CheckpointsReply:
        entry = self._registry.entry(parameters.name)
        folder, context = entry.folder, entry.job.context if entry.job is not None else None
        trainer = self._trainers.of(context or Context(name=entry.name))
        found = await lanes.answer(str(folder.path), trainer.checkpoints, context, folder)
        found.sort(key=progress, reverse=True)
        return m.CheckpointsReply(
            checkpoints=[
                Checkpoint(
                    name=facts.name,
                    path=str(folder.path / facts.name),
                    epoch=facts.epoch,
                    step=facts.step,
                    complete=facts.complete,
                    problem=facts.problem,
                    size=facts.size,
                    created_at=facts.created_at,
                )
                for facts in found
            ]
        )

    async def export(self, parameters: m.ExportParameters, _: Send) -> m.ExportReply:
        if parameters.format not in (None, "sd-scripts"):
            raise InvalidParameter("format must be sd-scripts.", parameter="format")
        return m.ExportReply(notes=await self._exporter.export(parameters.name, parameters.folder))

    async def trainer_options(self, _: m.Nothing, __: Send) -> m.TrainerOptionsReply:
        options = await self._trainers.training.options()
        if options:
            return m.TrainerOptionsReply(options=options)
        return m.TrainerOptionsReply(options=[], problem=trainer_is_silent(str(self._config.trainer_path)))

    def routes(self) -> list[Route]:
        return [
            Route(m.PLAN, self.plan),
            Route(m.LIST, self.list_jobs),
            Route(m.DESCRIBE, self.describe),
            Route(m.LOGS, self.logs),
            Route(m.WATCH, self.watch),
            Route(m.HISTORY, self.history),
            Route(m.WATCHDOG, self.watchdog),
            Route(m.CHECKPOINTS, self.checkpoints),
            Route(m.EXPORT, self.export),
            Route(m.TRAINER_OPTIONS, self.trainer_options),
        ]


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 0:
        raise InvalidParameter("limit must not be less than 0.", parameter="limit")
