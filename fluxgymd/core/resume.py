# SPDX-License-Identifier: Apache-2.0
"""Where a job goes on: the newest complete checkpoint, by its epoch and step and never by a file's time.

A job that has a complete checkpoint never begins at step 0: if it cannot go on from it,
it is not started (promise 5).

Two trainers write these folders. Ours counts steps from the very first run and goes on from any step. sd-scripts'
counter restarts at each resume, and so do its NAME-stepXXXXXXXX-state names; what stays true is the epoch in the name
NAME-000004-state, so what it made is gone on from at those only, by --initial_epoch (trainers.md 1.5). Ours takes
sd-scripts' states too: their moments are in its order (docs/decisions/0051-states-of-the-trainer.md).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Trainer(StrEnum):
    """Who writes, or wrote, a state."""

    OURS = "FluxGym's trainer"
    SD_SCRIPTS = "sd-scripts"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFacts:
    """One `-state` folder, as it was found."""

    name: str
    epoch: int | None
    """The epoch, from 1, of its last step."""
    step: int | None
    """Steps done since the very first run; None if that is not known."""
    problem: str | None
    """Why it cannot be resumed from; None if it can."""
    size: int
    """Bytes."""
    created_at: float
    trainer: Trainer = Trainer.OURS
    unreadable: bool = False
    """The problem is the disk's: it may be whole."""

    @property
    def complete(self) -> bool:
        return self.problem is None

    @property
    def set_aside(self) -> bool:
        return re.search(r"\.broken-\d+$", self.name) is not None


@dataclass(frozen=True, slots=True)
class Begin:
    """At step 0: there is no complete checkpoint."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """From this checkpoint."""

    checkpoint: CheckpointFacts


@dataclass(frozen=True, slots=True)
class Impossible:
    """It cannot be started as it is; the sentence says why and what would help."""

    sentence: str


def choose(found: Iterable[CheckpointFacts], *, trainer: Trainer, epochs: int) -> Begin | GoOn | Impossible:
    """Where an attempt begins. `trainer`: the one that will run; `epochs`: planned in all."""
    complete = [checkpoint for checkpoint in found if checkpoint.complete]
    if not complete:
        return Begin()
    best = newest(complete)
    if best is None:
        return Impossible(f"The step of its checkpoint {complete[0].name} is not known; remove it to begin anew.")
    if best.trainer is Trainer.OURS and trainer is not Trainer.OURS:
        return Impossible(
            f"Its checkpoint {best.name} was made by {best.trainer}, and {trainer} would run now; "
            "set trainer.path back in the config, or submit it under a new name."
        )
    usable = newest(checkpoint for checkpoint in complete if _takes(trainer, checkpoint, epochs))
    if usable is not None:
        return GoOn(usable)
    before = "" if trainer is Trainer.OURS else " before the last"
    return Impossible(
        f"It cannot go on from {best.name}: of what sd-scripts saves, {trainer} takes states of the end of an "
        f"epoch{before} of {epochs}; ask for more epochs, or submit it under a new name."
    )


def _takes(trainer: Trainer, checkpoint: CheckpointFacts, epochs: int) -> bool:
    if checkpoint.trainer is Trainer.OURS:
        return trainer is Trainer.OURS
    # A finished state is refused by sd-scripts, and a kill can fall between it and the final LoRA.
    last = epochs if trainer is Trainer.OURS else epochs - 1
    ended = epoch_in_name(checkpoint.name)
    return ended is not None and ended <= last


def newest(checkpoints: Iterable[CheckpointFacts]) -> CheckpointFacts | None:
    """The one that is furthest; None if there is none that is complete and tells how far it is."""
    usable = [checkpoint for checkpoint in checkpoints if checkpoint.complete and _told(checkpoint)]
    return max(usable, key=progress, default=None)


def _told(checkpoint: CheckpointFacts) -> bool:
    return checkpoint.epoch is not None or checkpoint.step is not None


def progress(checkpoint: CheckpointFacts) -> tuple[int, int, str]:
    """Orders checkpoints by what was trained. NAME-state comes after NAME-000016-state of the same step."""
    return (checkpoint.epoch or 0, checkpoint.step or 0, checkpoint.name)


def outdated(found: Iterable[CheckpointFacts], *, trainer: Trainer, keep: int) -> list[CheckpointFacts]:
    """The checkpoints that retention deletes: all but the newest `keep`, and never the last one.

    Only those count that `trainer` can go on from: what is broken, set aside, of another trainer or of unknown
    progress stays, and so does what sd-scripts saves by steps, which its own flags keep or delete.
    """
    usable = [checkpoint for checkpoint in found if checkpoint.complete and _told(checkpoint)]
    usable = [checkpoint for checkpoint in usable if checkpoint.trainer is trainer]
    if trainer is Trainer.SD_SCRIPTS:
        usable = [checkpoint for checkpoint in usable if epoch_in_name(checkpoint.name) is not None]
    usable.sort(key=progress, reverse=True)
    return usable[max(1, keep) :]


def true_step(
    *, trainer: Trainer, name: str, told_epoch: int, told_step: int, steps_per_epoch: int | None
) -> int | None:
    """Steps since the very first run. `told_*`: what train_state.json says."""
    if trainer is Trainer.OURS:
        return told_step
    if steps_per_epoch is None:
        return None
    ended = epoch_in_name(name)
    if ended is None and re.search(r"-step\d{8}-state", name) is None:
        ended = told_epoch  # NAME-state: after the last epoch
    if ended is not None:
        return ended * steps_per_epoch
    # It counts from the end of an epoch, since it is resumed from there only; current_epoch is the one it was in.
    return (told_epoch - 1) * steps_per_epoch + (told_step - 1) % steps_per_epoch + 1


STATE = r"(-\d{6}|-step\d{8})?-state(\.old)?(\.broken-\d+)?"


def is_state_folder(folder: str, output_name: str) -> bool:
    """Whether a folder's name is one of sd-scripts' names for a state of this output name (trainers.md 1.4), or one
    that was being replaced (`.old`, by our trainer) or was set aside (`.broken-N`, by the daemon)."""
    return folder.startswith(output_name) and re.fullmatch(STATE, folder[len(output_name) :]) is not None


def epoch_in_name(name: str) -> int | None:
    """The epoch at whose end a state was saved, if its name tells one."""
    found = re.search(r"-(\d{6})-state(\.old)?(\.broken-\d+)?$", name)
    return int(found[1]) if found else None


def is_last(name: str) -> bool:
    """Whether a state is that of the end of a training: what is left to its trainer is to write the LoRA."""
    return re.search(r"(?<!-\d{6})(?<!-step\d{8})-state(\.old)?$", name) is not None


def aside_name(name: str, taken: Sequence[str]) -> str:
    """A free name to set a broken state aside under."""
    number = 1
    while f"{name}.broken-{number}" in taken:
        number += 1
    return f"{name}.broken-{number}"
