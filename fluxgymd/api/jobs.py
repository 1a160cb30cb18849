# SPDX-License-Identifier: Apache-2.0
"""The methods of org.fluxgym.Jobs that change jobs (`job_views` has the others). Each passes its parameters on, and
turns the result into messages.
"""

from collections.abc import Callable

from fluxgym.errors import NoSuchJob, WrongState
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import RemovedJob
from fluxgymd.api.calls import Route, Send
from fluxgymd.jobs.registry import Registry
from fluxgymd.jobs.view import forgotten as shown_forgotten
from fluxgymd.jobs.view import show
from fluxgymd.requests.annotate import annotate
from fluxgymd.requests.edit import Editor
from fluxgymd.requests.prune import Pruner
from fluxgymd.requests.submit import Submitter
from fluxgymd.requests.verbs import Verbs, wrong_state
from fluxgymd.run.forgotten import Forgotten
from fluxgymd.run.trash import Trash


class Jobs:
    def __init__(
        self,
        registry: Registry,
        *,
        submitter: Submitter,
        verbs: Verbs,
        editor: Editor,
        request_pass: Callable[[], None],
        warn: Callable[[], list[str]],
        forgotten: Forgotten,
        trash: Trash,
        pruner: Pruner,
    ) -> None:
        self._registry = registry
        self._submitter = submitter
        self._verbs = verbs
        self._editor = editor
        self._request_pass = request_pass
        self._forgotten = forgotten
        self._trash = trash
        self._pruner = pruner
        self._warn = warn  # sentences about this machine that a user should read at a submit

    async def submit(self, parameters: m.SubmitParameters, _: Send) -> m.SubmitReply:
        entry, warnings = await self._submitter.submit(parameters.job)
        self._request_pass()
        return m.SubmitReply(job=show(entry), warnings=warnings + self._warn())

    async def stop(self, parameters: m.StopParameters, _: Send) -> m.OneJob:
        patient = bool(parameters.after_checkpoint)
        try:
            return m.OneJob(job=show(await self._verbs.stop(parameters.name, after_checkpoint=patient)))
        except (NoSuchJob, WrongState):
            if not await self._forgotten.stop(parameters.name):
                raise
            return m.OneJob(job=shown_forgotten(self._registry.home.folder(parameters.name)))

    async def resume(self, parameters: m.ResumeParameters, _: Send) -> m.ChangedJob:
        entry, warnings = await self._verbs.resume(parameters.name, assume_gone=bool(parameters.assume_gone))
        return m.ChangedJob(job=show(entry), warnings=warnings)

    async def hold(self, parameters: m.JobName, _: Send) -> m.OneJob:
        return m.OneJob(job=show(await self._verbs.hold(parameters.name)))

    async def release(self, parameters: m.JobName, _: Send) -> m.OneJob:
        return m.OneJob(job=show(await self._verbs.release(parameters.name)))

    async def move(self, parameters: m.MoveParameters, _: Send) -> m.OneJob:
        return m.OneJob(job=show(await self._verbs.move(parameters.name, parameters.before)))

    async def edit(self, parameters: m.SubmitParameters, _: Send) -> m.ChangedJob:
        entry, warnings = await self._editor.edit(parameters.job)
        return m.ChangedJob(job=show(entry), warnings=warnings)

    async def annotate(self, parameters: m.AnnotateParameters, _: Send) -> m.OneJob:
        return m.OneJob(job=show(await annotate(self._registry, parameters)))

    async def remove(self, parameters: m.RemoveParameters, _: Send) -> m.RemoveReply:
        name = parameters.name
        if parameters.now and not self._registry.has(name):
            await self._trash.delete(name)
            return m.RemoveReply()
        job = self._registry.sound(name)[1]
        if await self._forgotten.of(name):
            # Its folder was deleted, and a trainer that still runs made it again.
            raise wrong_state(job, "some of its processes are still running; stop it first")
        removed = await self._verbs.remove(name, keep=self._trash.keeps and not parameters.now)
        return m.RemoveReply(removed=removed.id if removed is not None else None)

    async def prune_states(self, parameters: m.PruneStatesParameters, _: Send) -> m.PruneStatesReply:
        removed, freed = await self._pruner.prune(parameters.name, parameters.keep)
        return m.PruneStatesReply(removed=removed, freed=freed)

    async def restore(self, parameters: m.JobName, _: Send) -> m.OneJob:
        entry = await self._trash.restore(parameters.name)
        self._request_pass()
        return m.OneJob(job=show(entry))

    async def removed(self, _: m.Nothing, send: Send) -> m.RemovedReply:
        for kept in await self._trash.kept():
            folder = kept.folder
            await send(
                m.RemovedReply(
                    job=RemovedJob(
                        name=folder.name,
                        id=folder.id,
                        removed_at=folder.removed_at,
                        deleted_at=kept.delete_at,
                        size=kept.size,
                    )
                )
            )
        return m.RemovedReply()

    def routes(self) -> list[Route]:
        return [
            Route(m.SUBMIT, self.submit),
            Route(m.STOP, self.stop),
            Route(m.RESUME, self.resume),
            Route(m.HOLD, self.hold),
            Route(m.RELEASE, self.release),
            Route(m.MOVE, self.move),
            Route(m.EDIT, self.edit),
            Route(m.ANNOTATE, self.annotate),
            Route(m.REMOVE, self.remove),
            Route(m.PRUNE_STATES, self.prune_states),
            Route(m.RESTORE, self.restore),
            Route(m.REMOVED, self.removed),
        ]
