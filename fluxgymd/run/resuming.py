# SPDX-License-Identifier: Apache-2.0
"""Prepares an attempt: asks the trainer about the job, chooses where it resumes, and clears what is in its way.

`look` changes nothing. `prepare` renames and deletes files of a job of which nothing runs. If the attempt cannot be
started, it only renames broken checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fluxgym.errors import StorageFailed
from fluxgym.protocol.messages import Context
from fluxgymd.background import lanes
from fluxgymd.core.journal.events import Copied
from fluxgymd.core.resume import Begin, CheckpointFacts, GoOn, Impossible, choose, newest, outdated
from fluxgymd.store import checkpoints
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.port import (
    CheckpointVerdict,
    CheckReport,
    ForecastWanted,
    Problem,
    ProblemKind,
    Question,
    Trainer,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """A checkpoint of another job that a new job starts from."""

    path: Path
    facts: CheckpointFacts
    """The facts about it, as if it were a checkpoint of the new job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What would happen to a job if it were started now."""

    where: Begin | GoOn | Impossible
    report: CheckReport
    found: tuple[CheckpointFacts, ...]
    """Its checkpoints; `problem` includes what the trainer found wrong."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that keeps it from being started; empty if nothing does."""
        if isinstance(self.where, Impossible):
            return (Problem(kind=ProblemKind.STATE, setting="resume", sentence=self.where.sentence),)
        return self.report.problems


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """Where an attempt begins, or why it cannot."""

    where: Begin | GoOn
    problems: tuple[Problem, ...] = ()
    step: int = 0
    set_aside: tuple[str, ...] = ()
    """The new names of broken checkpoints."""
    notes: tuple[str, ...] = ()
    """Sentences for monitor.log."""

    @property
    def resumed_from(self) -> str | None:
        return self.where.checkpoint.name if isinstance(self.where, GoOn) else None


async def look(
    trainer: Trainer,
    context: Context,
    folder: JobFolder,
    *,
    pictures: Sequence[Path],
    copied: Copied | None = None,
    wanted: ForecastWanted | None = None,
    origin: Origin | None = None,
) -> Outlook:
    """Chooses where the job resumes and asks its trainer about that; a checkpoint that the trainer finds damaged is
    left out. `pictures`: where those of each subset are now; `copied`: as of the submit; `wanted`: also asks what
    will happen; `origin`: a new job starts from this checkpoint, which is not in its folder yet. StorageFailed: the
    disk does not answer, so nothing is decided."""
    if origin is not None:
        found = [replace(origin.facts, name=str(origin.path))]
    else:
        found = await lanes.answer(str(folder.path), _readable, trainer, context, folder)
    from_job = context.resume_from.job if context.resume_from is not None else None
    while True:
        where = choose(found, origin=from_job)
        resume = where.checkpoint.name if isinstance(where, GoOn) else None
        question = Question(
            context=context, folder=folder, pictures=tuple(pictures), resume=resume, copied=copied, wanted=wanted
        )
        report = await trainer.check(question)
        if resume is None or origin is not None or report.verdict is not CheckpointVerdict.DAMAGED:
            return Outlook(where=where, report=report, found=tuple(found))
        why = " ".join(problem.sentence for problem in report.problems if problem.kind is ProblemKind.STATE)
        found = [replace(facts, problem=why) if facts.name == resume else facts for facts in found]


def prepare(trainer: Trainer, context: Context, folder: JobFolder, outlook: Outlook) -> Beginning:
    """Sets broken checkpoints aside and clears what is in the way. StorageFailed if the disk refuses. Blocks."""
    try:
        aside, notes = _set_aside(outlook.found, folder)
        if not outlook.problems:
            notes += tidy(trainer, context, folder)
            notes += trainer.mend(folder)
    except OSError as error:
        raise _silent(error, folder) from error
    where = outlook.where if not isinstance(outlook.where, Impossible) else Begin()
    known, told = where.checkpoint.step if isinstance(where, GoOn) else 0, outlook.report.step
    return Beginning(
        where=where,
        problems=outlook.problems,
        step=(known if told is None else told) or 0,
        set_aside=tuple(aside),
        notes=tuple(notes),
    )


def newest_checkpoint(trainer: Trainer, folder: JobFolder) -> CheckpointFacts | None:
    """The newest complete checkpoint. Blocks on the disk."""
    return newest(trainer.checkpoints(None, folder))


def tidy(trainer: Trainer, context: Context, folder: JobFolder) -> list[str]:
    """Deletes surplus and half-written checkpoints, and says which, in clauses. OSError: a later call can delete the
    rest. Blocks on the disk."""
    notes = []
    found = trainer.checkpoints(context, folder)
    for checkpoint in outdated(found, keep=trainer.kept_checkpoints(context)):
        checkpoints.delete(folder.path / checkpoint.name)
        notes.append(f"the old checkpoint {checkpoint.name} was deleted")
    for path in trainer.leftovers(folder):
        checkpoints.delete(path)
        notes.append(f"the half-written {path.name} was deleted")
    return notes


def _readable(trainer: Trainer, context: Context, folder: JobFolder) -> list[CheckpointFacts]:
    """The job's checkpoints. StorageFailed if the disk fails on one: an older one must not be used instead."""
    try:
        found = trainer.checkpoints(context, folder)
    except OSError as error:
        raise _silent(error, folder) from error
    for checkpoint in found:
        if checkpoint.unreadable and not checkpoint.set_aside:
            raise StorageFailed(f"The checkpoint {checkpoint.name} is needed, but {checkpoint.problem}.")
    return found


def _silent(error: OSError, folder: JobFolder) -> StorageFailed:
    return StorageFailed(f"{error.filename or folder.path} cannot be read: {error.strerror or error}.")


def _set_aside(found: Sequence[CheckpointFacts], folder: JobFolder) -> tuple[list[str], list[str]]:
    aside, notes = [], []
    for checkpoint in sorted(found, key=lambda checkpoint: checkpoint.name):
        if not checkpoint.complete and not checkpoint.set_aside:
            name = checkpoints.set_aside(folder.path / checkpoint.name)
            aside.append(name)
            notes.append(
                f"the checkpoint {checkpoint.name} is broken and was set aside as {name}: {checkpoint.problem}"
            )
    return aside, notes
