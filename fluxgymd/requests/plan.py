# SPDX-License-Identifier: Apache-2.0
"""A plan: what would happen to a job if it were submitted now. Makes the checks of a submit and queues nothing.

Each check runs whatever the others find, unless it needs what they could not provide.
"""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from fluxgym.errors import FluxgymError, InvalidDataset, StorageFailed
from fluxgym.protocol.messages import Context, Kind
from fluxgym.protocol.plan_messages import JobPlan, PlannedBucket, PlannedDisk, PlannedPicture, PlannedTime
from fluxgymd.background import lanes
from fluxgymd.core import schedule
from fluxgymd.core.gpu import Reading
from fluxgymd.core.job import Live
from fluxgymd.core.measures import duration
from fluxgymd.core.schedule import allowed_gpus
from fluxgymd.gpus.machine import Gpus
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.naming import names, renamed_report
from fluxgymd.requests.sources import FromStore
from fluxgymd.requests.speeds import Speeds
from fluxgymd.requests.submit import Submitter
from fluxgymd.run import resuming
from fluxgymd.run.preflight import Preflight
from fluxgymd.run.resuming import Origin, Outlook
from fluxgymd.snapshots import preview, subsets
from fluxgymd.snapshots.captions import Captions
from fluxgymd.snapshots.contents import Unfit
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.choice import Trainers
from fluxgymd.trainers.port import CheckReport, Forecast, ForecastWanted, Trainer

MOST_SENTENCES = 100
"""Problems, and warnings, that are told one by one: a message has a limit."""
GPU_AGE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    plan: JobPlan
    buckets: tuple[PlannedBucket, ...] = ()
    pictures: tuple[PlannedPicture, ...] = ()


class Planner:
    def __init__(
        self,
        registry: Registry,
        *,
        submitter: Submitter,
        preflight: Preflight,
        trainers: Trainers,
        gpus: Gpus,
        speeds: Speeds,
    ) -> None:
        self._registry = registry
        self._submitter = submitter
        self._preflight = preflight
        self._trainers = trainers
        self._gpus = gpus
        self._speeds = speeds

    async def plan(self, wanted: Context) -> Planned:
        """The plan. StorageFailed if the disk does not answer, so nothing is known."""
        problems: list[str] = []
        await self._trainers.look()
        with _gathered(problems):
            self._submitter.check_name(wanted.name)
        context = origin = None
        if not problems:  # its folder is needed, and holds nothing yet
            with _gathered(problems):
                found, sources = await self._submitter.sources.resolve(wanted)
                completed = self._trainers.of(found).complete(found, self._registry.home.path)
                context, origin = await self._submitter.origins.find(completed)
        if context is None:
            return Planned(plan=self._told(wanted, problems, []))
        with _gathered(problems):
            self._preflight.check_queueing(context)
        try:
            async with self._submitter.pictures(context, sources) as pictures:
                notes = [note for source in sources if isinstance(source, FromStore) for note in source.notes]
                return await self._of_complete(context, problems, pictures, notes, origin)
        except InvalidDataset as error:
            return Planned(plan=self._told(context, [*problems, error.message], []))

    async def _of_complete(
        self,
        context: Context,
        problems: list[str],
        pictures: tuple[Path, ...],
        notes: Sequence[str],
        origin: Origin | None,
    ) -> Planned:
        folder = self._registry.home.folder(context.name)
        readings = await self._gpus.ask(max_age=GPU_AGE_SECONDS)
        trainer, wanted = self._trainers.of(context), ForecastWanted(gpu_bytes=_smallest(context, readings))
        async with _as_copied(trainer, context, folder, pictures) as copies:
            outlook = await resuming.look(trainer, context, folder, pictures=copies, wanted=wanted, origin=origin)
        outlook = replace(outlook, report=renamed_report(outlook.report, names(context, copies, pictures)))
        problems += [problem.sentence for problem in outlook.problems]
        disk = await self._preflight.space(context, folder, outlook, pictures=pictures, origin=origin)
        with _gathered(problems):
            await self._preflight.check_room(disk, folder)
        warnings = [*notes, *self._warnings(context, outlook)]
        forecast = outlook.report.forecast
        time = await self._time(context, forecast, readings) if forecast is not None else None
        return Planned(
            plan=self._told(context, problems, warnings, report=outlook.report, disk=disk, time=time),
            buckets=forecast.buckets if forecast is not None else (),
            pictures=forecast.pictures if forecast is not None else (),
        )

    def _warnings(self, context: Context, outlook: Outlook) -> list[str]:
        told = [warning.sentence for warning in outlook.report.warnings]
        forecast = outlook.report.forecast
        if forecast is None and context.kind is Kind.TRAINING and not outlook.problems:
            told.append(
                "The trainer gave no plan, so steps, buckets and time are not known. sd-scripts itself cannot give "
                "one; otherwise the machine may be too busy for an answer in time, so try again."
            )
        return told

    async def _time(self, context: Context, forecast: Forecast, readings: tuple[Reading, ...]) -> PlannedTime | None:
        """From the GPUs that it may get, if all have one name, or from the CPU of a machine without GPUs."""
        names = {reading.name for reading in _allowed(context, readings)} if readings else {""}
        if len(names) != 1:
            return None
        runs = await self._speeds.measured({reading.uuid: reading.name for reading in readings})
        shape = duration.shape_of(context, gpu=names.pop())
        return duration.estimate(shape, runs, steps=forecast.training.total_steps - forecast.first_step)

    def _told(
        self,
        context: Context,
        problems: list[str],
        warnings: list[str],
        *,
        report: CheckReport | None = None,
        disk: PlannedDisk | None = None,
        time: PlannedTime | None = None,
    ) -> JobPlan:
        kind, jobs = schedule.kind_of(context), self._registry.jobs()
        return JobPlan(
            problems=_bounded(problems),
            warnings=_bounded(warnings),
            training=report.forecast.training if report is not None and report.forecast is not None else None,
            disk=disk,
            time=time,
            ahead=schedule.ahead_of(jobs, priority=context.priority or 0, kind=kind),
            running=sum(isinstance(job.state, Live) and schedule.kind_of(job.context) is kind for job in jobs),
        )


@contextlib.contextmanager
def _gathered(problems: list[str]) -> Iterator[None]:
    """Adds the sentences of an error to the problems. A disk that does not answer is not a problem of the job."""
    try:
        yield
    except StorageFailed:
        raise
    except FluxgymError as error:
        problems += error.message.split("\n")


@contextlib.asynccontextmanager
async def _as_copied(
    trainer: Trainer, context: Context, folder: JobFolder, pictures: tuple[Path, ...]
) -> AsyncIterator[tuple[Path, ...]]:
    """Folders with the pictures as the job would have them, with its captions; the user's own folders if that cannot
    be made, so that the checks say why."""
    if not trainer.traits.takes_dataset:
        yield pictures
        return
    what = f"the dataset of {context.name}"
    scratch = await lanes.answer(what, _make_scratch, folder.path.parent)
    try:
        yield await lanes.answer(what, _preview, context, pictures, scratch, trainer.captions(context))
    finally:
        await lanes.run(what, partial(shutil.rmtree, scratch, ignore_errors=True))


def _make_scratch(outputs: Path) -> Path:
    # After a crash it is deleted with the other half-made folders (store/home.py).
    return Path(tempfile.mkdtemp(prefix=".new-plan-", dir=outputs))


def _preview(context: Context, pictures: tuple[Path, ...], scratch: Path, how: Captions) -> tuple[Path, ...]:
    copies = subsets.folders(context, scratch)
    try:
        for subset, place, copy in zip(subsets.of(context), pictures, copies, strict=True):
            copy.mkdir(exist_ok=True)
            preview.make(place, copy, subset.captions(how))
    except (Unfit, OSError):
        return pictures
    return copies


def _allowed(context: Context, readings: tuple[Reading, ...]) -> list[Reading]:
    """The GPUs that the job may get."""
    uuids = allowed_gpus(context.gpus, [reading.uuid for reading in readings])
    return [reading for reading in readings if reading.uuid in uuids]


def _smallest(context: Context, readings: tuple[Reading, ...]) -> int | None:
    sizes = [reading.memory_total for reading in _allowed(context, readings)]
    return min((size for size in sizes if size is not None), default=None)


def _bounded(sentences: list[str]) -> list[str]:
    if len(sentences) <= MOST_SENTENCES:
        return sentences
    return [*sentences[:MOST_SENTENCES], f"There are {len(sentences) - MOST_SENTENCES} more like these."]
