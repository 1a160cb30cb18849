# SPDX-License-Identifier: Apache-2.0
"""The states of our trainer and of sd-scripts: their names, and which trainer resumes from whose states. Pure.

Both trainers use the same names and files. Ours counts steps from the very first run and resumes at any step.
sd-scripts' counter restarts at each resume, and so do its NAME-stepXXXXXXXX-state names. Only the epoch in
NAME-000004-state stays true, so sd-scripts' states are resumed only at the end of an epoch, with --initial_epoch.
Our trainer accepts them too, since its optimizer's moments are in the same order
(docs/decisions/0051-states-of-the-trainer.md).
"""

import re
from enum import StrEnum

from fluxgymd.core.resume import Use


class StateWriter(StrEnum):
    """The trainer that writes, or wrote, a state."""

    OURS = "FluxGym's trainer"
    SD_SCRIPTS = "sd-scripts"


STATE = r"(-\d{6}|-step\d{8})?-state(\.old)?(\.broken-\d+)?"


def is_state_folder(folder: str, output_name: str) -> bool:
    """Whether a folder has one of sd-scripts' names for a state of this output name, or the name of a state that our
    trainer was replacing (`.old`) or that the daemon set aside (`.broken-N`)."""
    return folder.startswith(output_name) and re.fullmatch(STATE, folder[len(output_name) :]) is not None


def epoch_in_name(name: str) -> int | None:
    """The epoch at whose end a state was saved; None if its name does not say."""
    found = re.search(r"-(\d{6})-state(\.old)?(\.broken-\d+)?$", name)
    return int(found[1]) if found else None


def renamed(name: str, old: str, new: str, *, epoch: int | None) -> str:
    """The name that a state of the job `old` gets in the job `new`. One saved after the last step is named after its
    epoch, since more epochs may follow. `epoch`: that of its last step."""
    ending = name[len(old) :].removesuffix(".old")
    if is_final(name) and epoch is not None:
        ending = f"-{epoch:06d}-state"
    return f"{new}{ending}"


def is_final(name: str) -> bool:
    """Whether a state was saved after the last step, when only the LoRA is left to write."""
    return re.search(r"(?<!-\d{6})(?<!-step\d{8})-state(\.old)?$", name) is not None


def true_step(
    *, writer: StateWriter, name: str, told_epoch: int, told_step: int, steps_per_epoch: int | None
) -> int | None:
    """Steps since the very first run; None if they are not known. `told_*`: the counters in train_state.json."""
    if writer is StateWriter.OURS:
        return told_step
    if steps_per_epoch is None:
        return None
    ended = epoch_in_name(name)
    if ended is None and re.search(r"-step\d{8}-state", name) is None:
        ended = told_epoch  # NAME-state: after the last epoch
    if ended is not None:
        return ended * steps_per_epoch
    # sd-scripts counts from the end of an epoch, since it is resumed only there; the state is from epoch told_epoch.
    return (told_epoch - 1) * steps_per_epoch + (told_step - 1) % steps_per_epoch + 1


def use(name: str, *, writer: StateWriter, reader: StateWriter, epochs: int) -> tuple[Use, str | None]:
    """What `reader`, the trainer that would run, can do with a state, and a sentence if it cannot resume from it.
    `epochs`: planned in total."""
    if writer is StateWriter.OURS:
        if reader is StateWriter.OURS:
            return Use.RESUME, None
        return Use.BAR, (
            f"Its checkpoint {name} was written by {writer}, but {reader} would run now; "
            "restore trainer.path in the configuration, or submit the job under a new name."
        )
    # sd-scripts refuses a state of the last epoch. Ours accepts it: a kill can come between it and the final LoRA.
    last = epochs if reader is StateWriter.OURS else epochs - 1
    ended = epoch_in_name(name)
    if ended is not None and ended <= last:
        return Use.RESUME, None
    before = "" if reader is StateWriter.OURS else " before the last"
    return Use.PASS_OVER, (
        f"It cannot resume from {name}: of the states that sd-scripts saves, {reader} accepts only those from the "
        f"end of an epoch{before} of {epochs}; set more epochs, or submit the job under a new name."
    )


def is_pruned(name: str, *, writer: StateWriter, reader: StateWriter) -> bool:
    """Whether retention counts a state and may delete it: a state that the reader itself wrote; of sd-scripts, only
    one with an epoch in its name. sd-scripts itself deletes the states that it saves by step, as its flags say."""
    return writer is reader and (writer is StateWriter.OURS or epoch_in_name(name) is not None)
