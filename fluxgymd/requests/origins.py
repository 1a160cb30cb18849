# SPDX-License-Identifier: Apache-2.0
"""The checkpoint of another job that a new job starts from (`resume_from`)."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context, ResumeFrom
from fluxgym.quoting import short
from fluxgymd.background import lanes
from fluxgymd.core.resume import CheckpointFacts, Use, newest
from fluxgymd.failpoints import failpoint
from fluxgymd.jobs.registry import Registry
from fluxgymd.run.resuming import Origin
from fluxgymd.snapshots.snapshot import copy
from fluxgymd.store.atomic import sync_folder
from fluxgymd.trainers.choice import Trainers

SETTING = "resume_from"


class Origins:
    def __init__(self, registry: Registry, trainers: Trainers) -> None:
        self._registry = registry
        self._trainers = trainers

    async def find(self, context: Context) -> tuple[Context, Origin | None]:
        """The settings with the checkpoint's name, and the checkpoint; None if the job begins at step 0. `context`:
        complete. InvalidSetting or NoSuchJob."""
        asked = context.resume_from
        if asked is None:
            return context, None
        origin = await self.checkpoint(context)
        _refuse_few(context, origin)
        named = ResumeFrom(job=asked.job, checkpoint=origin.path.name)
        return msgspec.structs.replace(context, resume_from=named), origin

    async def checkpoint(self, context: Context) -> Origin:
        """The checkpoint that a job with `resume_from` starts from. InvalidSetting or NoSuchJob."""
        asked = context.resume_from
        assert asked is not None
        entry, job = self._registry.sound(asked.job)
        trainer = self._trainers.of(context)

        def look() -> list[Origin]:
            origins = []
            for checkpoint in trainer.checkpoints(job.context, entry.folder):
                with suppress(FileNotFoundError):  # a running job deletes its old ones
                    facts = trainer.adopted(checkpoint, job.context, entry.folder, context=context)
                    origins.append(Origin(path=entry.folder.path / checkpoint.name, facts=facts))
            return origins

        return chosen(await lanes.answer(str(entry.folder.path), look), asked)


def chosen(found: Iterable[Origin], asked: ResumeFrom) -> Origin:
    """The requested checkpoint, or else the newest usable one. InvalidSetting."""
    by_name = {origin.path.name: origin for origin in found}
    if asked.checkpoint is not None:
        if asked.checkpoint not in by_name:
            raise _wrong(
                f"The job {asked.job} has no checkpoint {short(asked.checkpoint)}; `fluxgymctl checkpoints "
                f"{asked.job}` lists its checkpoints."
            )
        origin = by_name[asked.checkpoint]
        if not origin.facts.complete:
            raise _wrong(f"The checkpoint {asked.checkpoint} of {asked.job} cannot be used: {origin.facts.problem}.")
        if origin.facts.use is not Use.RESUME:
            raise _wrong(origin.facts.refusal or f"The checkpoint {asked.checkpoint} cannot be used.")
        return origin
    usable = {origin.facts: origin for origin in by_name.values() if origin.facts.use is Use.RESUME}
    best = newest(usable)
    if best is None:
        refusals = [origin.facts.refusal for origin in by_name.values() if origin.facts.refusal]
        raise _wrong(refusals[0] if refusals else f"The job {asked.job} has no complete checkpoint to begin with.")
    return usable[best]


def more_epochs(origin: CheckpointFacts, more: int) -> int:
    """The total number of epochs, with this many after the checkpoint's. InvalidSetting."""
    if more < 1:
        raise InvalidSetting(f"more_epochs is {more}, but must be at least 1.", setting="more_epochs")
    if origin.epoch is None:
        raise _wrong(f"The epoch of the checkpoint {origin.name} is unknown; give epochs, the total number, instead.")
    return origin.epoch + more


def take(origin: Origin, folder: Path) -> None:
    """Copies the checkpoint into the folder of the job that begins with it, durably. InvalidSetting if it was deleted
    since it was chosen. Blocks."""
    target = folder / origin.facts.name
    target.mkdir()
    try:
        for path in sorted(origin.path.iterdir()):
            if path.is_file():
                copy(path, target / path.name)
        shutil.copystat(origin.path, target)
    except FileNotFoundError:
        raise _wrong(f"The checkpoint {origin.path.name} has just been deleted; choose another one.") from None
    sync_folder(target)
    failpoint("origin.copied")


def same(asked: ResumeFrom, recorded: ResumeFrom) -> bool:
    """Whether the requested checkpoint is the one that a job started from."""
    return asked.job == recorded.job and asked.checkpoint in (None, recorded.checkpoint)


def _refuse_few(context: Context, origin: Origin) -> None:
    facts, epochs = origin.facts, context.epochs or 0
    if facts.epoch is not None and facts.epoch >= epochs and facts.epoch_ended:
        raise InvalidSetting(
            f"epochs is {epochs}, but the checkpoint {origin.path.name} already has {facts.epoch}; epochs counts "
            f"from the very beginning, so give more than {facts.epoch}.",
            setting="epochs",
        )


def _wrong(sentence: str) -> InvalidSetting:
    return InvalidSetting(sentence, setting=SETTING)
