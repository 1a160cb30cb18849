# SPDX-License-Identifier: Apache-2.0
"""The settings of a job to submit, made from those of another job, from presets, and from what the user gives."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from fluxgym.errors import InvalidSetting, NoSuchDataset
from fluxgym.files import is_folder
from fluxgym.protocol.messages import Context, ResumeFrom, TriggerPlace
from fluxgymd.background import lanes
from fluxgymd.datasets.datasets import Datasets
from fluxgymd.jobs.registry import Registry
from fluxgymd.presets.shelf import Shelf
from fluxgymd.requests import origins
from fluxgymd.requests.edit import merge
from fluxgymd.requests.origins import Origins
from fluxgymd.snapshots import subsets
from fluxgymd.store.home import JobFolder

LANE = "the presets"


class Composer:
    def __init__(self, registry: Registry, shelf: Shelf, datasets: Datasets, origins: Origins) -> None:
        self._registry = registry
        self._origins = origins
        self._datasets = datasets
        self._shelf = shelf

    async def compose(
        self,
        given: Context,
        *,
        presets: Sequence[str],
        like: str | None,
        base: Context | None = None,
        more_epochs: int | None = None,
    ) -> tuple[Context, list[str]]:
        """The settings, and notes for the user. The later overrides the earlier: the job `like` or the settings
        `base`, the presets in their order, and `given`. For a job that starts from another job's checkpoint, `like`
        defaults to that job if neither is given. `more_epochs`: epochs after that checkpoint. Raises FluxgymError."""
        origin = given.resume_from
        if origin is not None and like is None and base is None:
            like = origin.job
        settings = [(await lanes.answer(LANE, self._shelf.one, name)).settings for name in presets]
        notes: list[str] = []
        base = base or Context(name=given.name)
        if like is not None:
            entry, job = self._registry.sound(like)
            base = as_it_trains(job.context)
            if given.dataset is None and given.parts is None and (base.dataset or base.parts):
                copies = origin is not None and origin.job == like
                base = await self._with_pictures(base, like, entry.folder, notes, copies=copies)
            if base.resume_from is not None and origin is None:
                notes.append(_from_the_beginning(base.resume_from, like))
        made = composed(base, [*settings, given])
        return (await self._continued(made, more_epochs) if origin or more_epochs is not None else made), notes

    async def _continued(self, made: Context, more: int | None) -> Context:
        """The settings with the name of the checkpoint that the job starts from, and with its total number of
        epochs."""
        if made.resume_from is None:
            raise InvalidSetting("more_epochs needs resume_from, the job to continue.", setting="more_epochs")
        found = await self._origins.checkpoint(msgspec.structs.replace(made, epochs=None))
        named = ResumeFrom(job=made.resume_from.job, checkpoint=found.path.name)
        epochs = made.epochs if more is None else origins.more_epochs(found.facts, more)
        return msgspec.structs.replace(made, resume_from=named, epochs=epochs)

    async def _with_pictures(
        self, base: Context, like: str, folder: JobFolder, notes: list[str], *, copies: bool
    ) -> Context:
        """The settings with the job's own copy in place of pictures that no longer exist. `copies`: always uses the
        copy, since the pictures may have changed, and a continued training needs the same ones."""
        found, own = [], []
        for subset in subsets.of(base):
            dataset = subset.dataset
            is_gone = not await self._there(dataset, like)
            if copies or is_gone:
                dataset = await lanes.answer(like, _own, dataset, folder.dataset / subset.place)
            own.append(dataset != subset.dataset)
            gone = f"{subset.dataset} no longer exists, so the pictures that were copied for {like} are used."
            if own[-1] and is_gone and gone not in notes:
                notes.append(gone)
            found.append(dataset)
        if base.parts is None:
            return msgspec.structs.replace(base, dataset=found[0])
        parts = [
            msgspec.structs.replace(part, dataset=name, folder=None if copied else part.folder)
            for part, name, copied in zip(base.parts, found, own, strict=True)
        ]
        return msgspec.structs.replace(base, parts=parts)

    async def _there(self, dataset: str, job: str) -> bool:
        """Whether the folder or the stored dataset that a job was submitted with still exists."""
        if "/" in dataset:
            return await lanes.answer(job, is_folder, dataset)
        try:
            await self._datasets.find(dataset)
        except NoSuchDataset:
            return False
        return True


def composed(base: Context, changes: Sequence[Context]) -> Context:
    """The settings of a job with changes applied in order, for a new job that is named by the last of them. It does
    not wait for what the first job waited for, and begins at step 0 unless the changes say otherwise."""
    made = msgspec.structs.replace(base, held=None, after=None, resume_from=None)
    for change in changes:
        made = merge(made, change)
    return made


def as_it_trains(base: Context) -> Context:
    """The settings of a job, also those that a job of an earlier version lacks, so that a new job with them is like
    it (docs/decisions/0102-fields-of-a-job.md)."""
    if base.dataset is None or base.trigger_place is not None:
        return base
    options = dict(base.trainer_options or {})
    given = options.pop("enable_bucket", None)
    buckets = base.enable_bucket if base.enable_bucket is not None else given not in (None, ["false"])
    return msgspec.structs.replace(
        base, trigger_place=TriggerPlace.MISSING, enable_bucket=buckets, trainer_options=options
    )


def _from_the_beginning(origin: ResumeFrom, like: str) -> str:
    again = f"--resume-from {origin.job}:{origin.checkpoint}"
    return f"{like} started from a checkpoint of {origin.job}; this job begins at step 0 unless you give {again}."


def _own(source: str, copy: Path) -> str:
    """The job's own copy of its pictures, or the source if there is no copy either. Blocks."""
    return str(copy) if is_folder(copy) else source
