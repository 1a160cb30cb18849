# SPDX-License-Identifier: Apache-2.0
"""Decides where a job resumes: at its newest complete checkpoint, by epoch and step and never by a file's time.

A job that has a complete checkpoint never starts over at step 0: if it can't resume from one, it isn't started
(promise 5). The trainer's adapter knows what a checkpoint looks like on the disk and which ones the trainer accepts
(fluxgymd/trainers/port.py).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Use(Enum):
    """What a trainer can do with a complete checkpoint."""

    RESUME = auto()
    """Resume from it."""
    PASS_OVER = auto()
    """Not resume from it; an older checkpoint will do."""
    BAR = auto()
    """Not resume from it, and resuming from an older one would silently lose what it holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFacts:
    """A checkpoint on the disk."""

    name: str
    epoch: int | None
    """The epoch of its last step, counted from 1; None if unknown."""
    step: int | None
    """Steps done since the job's first attempt began; None if unknown."""
    problem: str | None
    """Why a job can't resume from the checkpoint, as a clause; None if it is complete."""
    size: int
    """Bytes."""
    created_at: float
    unreadable: bool = False
    """The problem is the disk's; the checkpoint itself may be complete."""
    use: Use = Use.RESUME
    refusal: str | None = None
    """One sentence: why the trainer doesn't resume from it, if `use` isn't RESUME."""
    pruned: bool = True
    """Retention counts this checkpoint and may delete it."""
    epoch_ended: bool = False
    """The step was the last one of the epoch."""
    final: bool = False
    """It was saved after the last step; only the result remains to be written."""

    @property
    def complete(self) -> bool:
        return self.problem is None

    @property
    def set_aside(self) -> bool:
        return re.search(r"\.broken-\d+$", self.name) is not None


@dataclass(frozen=True, slots=True)
class Begin:
    """Start at step 0, because there is no complete checkpoint."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """Resume from this checkpoint."""

    checkpoint: CheckpointFacts


@dataclass(frozen=True, slots=True)
class Impossible:
    """The job can't be started as it is. The sentence says why and what would help."""

    sentence: str


def choose(found: Iterable[CheckpointFacts], *, origin: str | None = None) -> Begin | GoOn | Impossible:
    """Chooses where the next attempt begins. `origin`: the job whose checkpoint was copied as this job's first one;
    such a job must not start over at step 0."""
    complete = [checkpoint for checkpoint in found if checkpoint.complete]
    if not complete and origin is not None:
        return Impossible(
            f"It started from a checkpoint of the job {origin}, but no longer has a complete checkpoint; submit it "
            "again."
        )
    if not complete:
        return Begin()
    best = newest(complete)
    if best is None:
        return Impossible(
            f"The step of its checkpoint {complete[0].name} is unknown; delete that checkpoint to start over."
        )
    usable = newest(checkpoint for checkpoint in complete if checkpoint.use is Use.RESUME)
    if best.use is Use.BAR or usable is None:
        return Impossible(best.refusal or f"It cannot resume from its checkpoint {best.name}.")
    return GoOn(usable)


def newest(checkpoints: Iterable[CheckpointFacts]) -> CheckpointFacts | None:
    """The most advanced complete checkpoint; None if there is none whose progress is known."""
    usable = [checkpoint for checkpoint in checkpoints if checkpoint.complete and _dated(checkpoint)]
    return max(usable, key=progress, default=None)


def _dated(checkpoint: CheckpointFacts) -> bool:
    return checkpoint.epoch is not None or checkpoint.step is not None


def progress(checkpoint: CheckpointFacts) -> tuple[int, int, str]:
    """Sort key by training progress. NAME-state sorts after NAME-000016-state of the same step."""
    return (checkpoint.epoch or 0, checkpoint.step or 0, checkpoint.name)


def outdated(found: Iterable[CheckpointFacts], *, keep: int) -> list[CheckpointFacts]:
    """The checkpoints that retention deletes: all but the newest `keep`. At least one is kept.

    Checkpoints that are broken, set aside, of unknown progress, or not `pruned` are neither counted nor deleted.
    """
    usable = [checkpoint for checkpoint in found if checkpoint.complete and _dated(checkpoint) and checkpoint.pruned]
    usable.sort(key=progress, reverse=True)
    return usable[max(1, keep) :]


def surplus(found: Iterable[CheckpointFacts], *, keep: int, needed: str | None) -> list[CheckpointFacts]:
    """The complete checkpoints that a user's request deletes, the newest first: all but the newest `keep` and the one
    that is `needed`. Checkpoints that are broken, set aside or of unknown progress are neither counted nor
    deleted."""
    usable = [checkpoint for checkpoint in found if checkpoint.complete and _dated(checkpoint)]
    usable.sort(key=progress, reverse=True)
    return [checkpoint for checkpoint in usable[keep:] if checkpoint.name != needed]


def aside_name(name: str, taken: Sequence[str]) -> str:
    """A free name under which a broken checkpoint can be set aside."""
    number = 1
    while f"{name}.broken-{number}" in taken:
        number += 1
    return f"{name}.broken-{number}"
