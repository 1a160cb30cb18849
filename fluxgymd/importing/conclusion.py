# SPDX-License-Identifier: Apache-2.0
"""The outcome of an older training, concluded from the files that it left. Pure.

The older FluxGym only asks whether there is a final file, which may be an earlier training's, and it stops looking
when the browser is closed. So files take precedence over ui_state.json, and the times in a file's metadata over its
times on the disk, which a copy changes.
"""

import re
from dataclasses import dataclass
from typing import Literal

from fluxgymd.core.failure import classify
from fluxgymd.core.journal.records import ExitRecord
from fluxgymd.core.resume import CheckpointFacts, newest

CLOCK_SECONDS = 60.0
"""Tolerance for a clock that was set between the form's time and the start of the trainer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """A file of weights."""

    name: str
    problem: str | None = None
    """Why it is torn; None if it is complete."""
    started_at: float | None = None
    """When its training started, by its metadata."""
    finished_at: float | None = None
    """When the file was written, by its metadata."""

    @property
    def epoch(self) -> int | None:
        """The epoch in its name; None if there is none, as in the final file's name."""
        found = re.search(r"-(\d{6})\.safetensors$", self.name)
        return int(found[1]) if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingFiles:
    """The files of a training, as they were found."""

    final: Lora | None = None
    others: tuple[Lora, ...] = ()
    states: tuple[CheckpointFacts, ...] = ()
    status: str = ""
    """starting, completed or failed, from ui_state.json; empty if it does not say."""
    error: str = ""
    asked_at: float | None = None
    """When the user asked for the training, from ui_state.json."""
    log: str = ""
    """The end of its log."""
    went_on_from: str = ""
    """The state that its trainer was told to resume from, if any."""


@dataclass(frozen=True, slots=True)
class ImportedOutcome:
    outcome: Literal["completed", "stopped", "failed"]
    reason: str
    failure: str | None = None
    """If it failed: a FailureKind of the interface."""


def conclude(left: TrainingFiles) -> ImportedOutcome:
    """The outcome, and the evidence for it."""
    against = _against(left)
    if against is None and left.final is not None:
        reason = f"Its final file {left.final.name} is complete."
        if left.status == "failed":
            reason += f" ui_state.json says that it failed{_because(left.error)}"
        return ImportedOutcome("completed", reason)
    if left.status == "failed":
        return _failed(f"ui_state.json says that it failed{_because(left.error)} {against} {_so_far(left)}", left)
    if _saved(left):
        return ImportedOutcome("stopped", f"{against} {_so_far(left)}".strip())
    return _failed(f"{against} It left neither a complete file nor a state.", left)


def unfinished_business(left: TrainingFiles) -> str | None:
    """Why the training cannot be resumed although it left something; None if it can be resumed, left nothing to lose,
    or is completed."""
    if _against(left) is None or newest(left.states) is not None:
        return None
    if left.states:
        return f"none of its states is complete ({left.states[0].name}: {left.states[0].problem})"
    if left.went_on_from:
        return f"it resumed from {left.went_on_from} and saved no state of its own"
    if not _saved(left):
        return None
    return "it saved no state, so it could only start over"


def _against(left: TrainingFiles) -> str | None:
    """Why there is no final file from this training, as a sentence; None if there is one."""
    final = left.final
    if final is None:
        says = " although ui_state.json says that it completed" if left.status == "completed" else ""
        return f"It has no final file{says}."
    if final.problem is not None:
        return f"Its final file is damaged: {final.problem}."
    if _earlier(final.started_at, left.asked_at, slack=CLOCK_SECONDS):
        return f"The final file {final.name} is from an earlier training."
    later = [lora.name for lora in left.others if _earlier(final.finished_at, lora.started_at)]
    return f"The final file {final.name} is from an earlier training than {later[0]}." if later else None


def _earlier(one: float | None, other: float | None, *, slack: float = 0.0) -> bool:
    """Whether `one` is known to be earlier than `other`, by more than `slack` seconds."""
    return one is not None and other is not None and one < other - slack


def _saved(left: TrainingFiles) -> bool:
    """Whether there are results that would be lost."""
    return bool(left.states) or any(lora.problem is None for lora in left.others)


def _so_far(left: TrainingFiles) -> str:
    state = newest(left.states)
    if state is not None:
        return f"Its newest complete state is {state.name}."
    whole = [lora for lora in left.others if lora.problem is None]
    if whole:
        return f"Its newest file is {max(whole, key=lambda lora: (lora.epoch or 0, lora.name)).name}."
    return ""


def _failed(reason: str, left: TrainingFiles) -> ImportedOutcome:
    # Its exit status is not known, so only its output can show the cause.
    failure = classify(ExitRecord(kind="unknown"), left.log, refusal_status=None)
    return ImportedOutcome("failed", " ".join(reason.split()), failure.value)


def _because(error: str) -> str:
    sentence = " ".join(error.split()).rstrip(".")
    return f": {sentence}." if sentence else "."
