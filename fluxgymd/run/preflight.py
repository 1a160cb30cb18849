# SPDX-License-Identifier: Apache-2.0
"""Checks before a job is queued that its GPUs and the jobs that it waits for exist, that its trainer finds nothing
wrong with it, and that what it will save fits on the disk. Changes nothing.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

import msgspec

from fluxgym.errors import (
    FileMissing,
    FluxgymError,
    InvalidDataset,
    InvalidSetting,
    NotEnoughSpace,
    StorageFailed,
    WrongState,
)
from fluxgym.protocol.messages import Context, FailureKind
from fluxgym.protocol.plan_messages import PlannedDisk
from fluxgymd.background import lanes
from fluxgymd.core.disk import storage
from fluxgymd.core.journal.events import Copied
from fluxgymd.core.resume import Impossible
from fluxgymd.core.schedule import allowed_gpus
from fluxgymd.gpus.machine import Gpus
from fluxgymd.jobs.registry import Registry
from fluxgymd.run import resuming
from fluxgymd.run.resuming import Origin, Outlook
from fluxgymd.run.trash import Trash
from fluxgymd.snapshots import contents
from fluxgymd.store.caches import shared_pictures
from fluxgymd.store.home import NEW, JobFolder
from fluxgymd.store.room import room
from fluxgymd.trainers.choice import Trainers
from fluxgymd.trainers.port import Problem, ProblemKind


class Preflight:
    def __init__(self, registry: Registry, trainers: Trainers, gpus: Gpus, trash: Trash | None = None) -> None:
        """`trash`: emptied before a job is refused for lack of space."""
        self._trash = trash
        self._registry = registry
        self._trainers = trainers
        self._gpus = gpus

    async def check(
        self,
        context: Context,
        folder: JobFolder,
        *,
        pictures: Sequence[Path],
        copied: Copied | None = None,
        origin: Origin | None = None,
    ) -> Outlook:
        """How the job would start. A FluxgymError says what is wrong and lists all problems that the trainer finds.
        `context`: complete; `pictures`: where those of each subset are now; `copied`: as of the submit; `origin`: the
        checkpoint that a new job starts from."""
        self.check_queueing(context)
        outlook = await self.examine(context, folder, pictures=pictures, copied=copied, origin=origin)
        needed = await self.space(context, folder, outlook, pictures=pictures, origin=origin)
        if needed is not None and _missing(needed) and self._trash is not None:
            await self.check_room(needed, folder)
            enough = _required(needed)
            await self._trash.make_room(lambda left: left.free >= enough)
            needed = await self.space(context, folder, outlook, pictures=pictures, origin=origin)
        check_space(needed, folder)
        return outlook

    def check_queueing(self, context: Context) -> None:
        """Checks its GPUs and the jobs that it waits for."""
        for name in context.after or ():
            self._registry.entry(name)
        self._refuse_circle(context)
        self._check_gpus(context)

    async def space(
        self,
        context: Context,
        folder: JobFolder,
        outlook: Outlook,
        *,
        pictures: Sequence[Path],
        origin: Origin | None = None,
    ) -> PlannedDisk | None:
        """What the job needs on the home's disk; None for a job that saves nothing that is known."""
        home, links = self._registry.home, self._trainers.of(context).only_reads_pictures
        shared = home.shared_pictures if links else None
        needed = await lanes.answer(f"the dataset of {context.name}", _space, outlook, folder, pictures, shared)
        if needed is None or origin is None:
            return needed
        return msgspec.structs.replace(needed, checkpoint=origin.facts.size)

    async def check_room(self, needed: PlannedDisk | None, folder: JobFolder) -> None:
        """NotEnoughSpace if what the job will save does not fit on the home's disk, even with an empty trash."""
        reclaimable = 0
        if needed is not None and _missing(needed) and self._trash is not None:
            reclaimable = await self._trash.own_bytes()
        check_space(needed, folder, reclaimable=reclaimable)

    async def examine(
        self,
        context: Context,
        folder: JobFolder,
        *,
        pictures: Sequence[Path],
        copied: Copied | None = None,
        origin: Origin | None = None,
    ) -> Outlook:
        """The same without the checks of its GPUs, of the jobs that it waits for, and of the disk."""
        await self._trainers.look()
        trainer = self._trainers.of(context)
        outlook = await resuming.look(trainer, context, folder, pictures=pictures, copied=copied, origin=origin)
        if isinstance(outlook.where, Impossible):
            state = self._registry.entry(context.name).state
            raise WrongState(f"The job {context.name}: {outlook.where.sentence}", name=context.name, state=state)
        if outlook.problems:
            raise refusal(outlook.problems, pictures=pictures)
        return outlook

    def _refuse_circle(self, context: Context) -> None:
        """Refuses a job that would wait for itself through other jobs, forever. Other jobs may already wait for its
        name, if a job of that name was removed."""
        seen: set[str] = set()
        ahead = list(context.after or ())
        while ahead:
            name = ahead.pop()
            if name == context.name:
                raise InvalidSetting(f"after would make {context.name} wait for itself.", setting="after")
            if name not in seen and self._registry.has(name):
                seen.add(name)
                other = self._registry.entry(name).job
                ahead += other.context.after or () if other is not None else ()

    def _check_gpus(self, context: Context) -> None:
        known = self._gpus.uuids
        if not self._gpus.asked or self._gpus.uncertain:
            return  # then the job waits until they are known
        for asked in context.gpus or ():
            if not allowed_gpus([asked], known):
                has = f"give 0 to {len(known) - 1}, or a UUID" if known else "it has none"
                raise InvalidSetting(f"There is no GPU {asked} on this machine; {has}.", setting="gpus")
        if (context.gpu_count or 1) > max(1, len(known)):
            raise InvalidSetting(
                f"gpu_count is {context.gpu_count}, but this machine has {len(known)}.", setting="gpu_count"
            )


def refusal(problems: Sequence[Problem], *, pictures: Sequence[Path]) -> FluxgymError:
    """The error for these problems: its kind is that of the first one, and its text has one sentence per line."""
    first, sentences = problems[0], "\n".join(problem.sentence for problem in problems)
    match first.kind:
        case ProblemKind.MISSING_FILE:
            return FileMissing(sentences, path=first.path or "")
        case ProblemKind.DATASET:
            return InvalidDataset(sentences, path=first.path or str(pictures[0]))
        case _:
            return InvalidSetting(sentences, setting=first.setting or "trainer_options")


def failure(problems: Sequence[Problem]) -> FailureKind:
    """The failure of a waiting job that these problems keep from starting."""
    match problems[0].kind:
        case ProblemKind.STATE:
            return FailureKind.NOT_RESUMABLE
        case ProblemKind.MISSING_FILE:
            return FailureKind.MISSING_FILE
        case ProblemKind.DATASET:
            return FailureKind.BAD_DATASET
        case _:
            return FailureKind.BAD_SETTING


def _space(outlook: Outlook, folder: JobFolder, pictures: Sequence[Path], shared: Path | None) -> PlannedDisk | None:
    """`shared`: the folder of the pictures that the job may link to. Blocks."""
    saves, forecast = outlook.report.disk_bytes, outlook.report.forecast
    if not saves:
        return None
    home = folder.path.parent.parent
    try:
        free = room(home).free
    except OSError as error:
        raise StorageFailed(storage.sentence(error, str(home))) from None
    copied = [place for place in pictures if not is_the_copy(place, folder)]
    there = shared_pictures.stamps(shared) if shared is not None and copied else set()
    return PlannedDisk(
        saves=saves,
        pictures=sum(_bytes_in(place, there) for place in copied),
        caches=forecast.caches_bytes if forecast is not None else 0,
        free=free,
    )


def is_the_copy(pictures: Path, folder: JobFolder) -> bool:
    """Whether the pictures are those of the job itself, which may still be under construction; else they will be
    copied, also those of another job."""
    if not pictures.is_relative_to(folder.path.parent):
        return False
    job = pictures.relative_to(folder.path.parent).parts[:1]
    return job == (folder.name,) or "".join(job).startswith(NEW)


def _required(needed: PlannedDisk) -> int:
    """Bytes of what the job will save and of what is copied for it."""
    return needed.saves + needed.pictures + (needed.checkpoint or 0)


def _missing(needed: PlannedDisk) -> int:
    """Bytes of these that do not fit on the home's disk."""
    return max(0, _required(needed) - needed.free)


def check_space(needed: PlannedDisk | None, folder: JobFolder, *, reclaimable: int = 0) -> None:
    """NotEnoughSpace if what the job will save does not fit on the home's disk. `reclaimable`: bytes that emptying
    the trash would free."""
    if needed is None or _missing(needed) <= reclaimable:
        return
    required, home = _required(needed), folder.path.parent.parent
    raise NotEnoughSpace(
        f"The training needs about {storage.file_size(required)} for its states, but the disk of {home} has "
        f"{storage.file_size(needed.free)} free; free some space, or save less often.",
        path=str(home),
        required=required,
        available=needed.free,
    )


def _bytes_in(pictures: Path, there: AbstractSet[tuple[int, int]]) -> int:
    """The bytes that a copy of the pictures in a folder takes. `there`: the stamps of pictures that need no copy."""
    with suppress(OSError):
        found = [(pictures / name).stat() for name in contents.picture_names(pictures)]
        return sum(file.st_size for file in found if shared_pictures.stamp(file) not in there)
    return 0
