# SPDX-License-Identifier: Apache-2.0
"""What became of an older training, concluded from what it left. Pure.

The older program decides by "is there a final file", which one of an earlier training is too, and it stops looking
when the browser is closed (fluxgym.md 3.8). So files are believed before ui_state.json, and what they say of
themselves before their times on the disk, which a copy changes.
"""

import re
from dataclasses import dataclass

from fluxgymd.core.failure import classify
from fluxgymd.core.records import ExitRecord
from fluxgymd.core.resume import CheckpointFacts, newest

CLOCK_SECONDS = 60.0
"""The form's time is taken before the trainer starts; this is for a clock that was set meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """A file of weights."""

    name: str
    problem: str | None = None
    """Why it is torn; None: it is whole."""
    started_at: float | None = None
    """When its training started, and when the file was written, as its metadata says."""
    finished_at: float | None = None

    @property
    def epoch(self) -> int | None:
        """The epoch in its name; None: the final one."""
        found = re.search(r"-(\d{6})\.safetensors$", self.name)
        return int(found[1]) if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """What a training left."""

    final: Lora | None = None
    others: tuple[Lora, ...] = ()
    states: tuple[CheckpointFacts, ...] = ()
    status: str = ""
    """starting, completed or failed, as ui_state.json says; empty: it says nothing."""
    error: str = ""
    asked_at: float | None = None
    """When it was asked for, as ui_state.json says."""
    log: str = ""
    """The end of its log."""
    went_on_from: str = ""
    """The state that its trainer was given to go on from, if any."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    outcome: str
    """completed, stopped or failed."""
    reason: str
    failure: str | None = None
    """Of a failed one: a FailureKind of the interface."""


def conclude(left: Left) -> Conclusion:
    """The state, and what it was concluded from."""
    against = _against(left)
    if against is None and left.final is not None:
        reason = f"Its final file {left.final.name} is whole."
        if left.status == "failed":
            reason += f" ui_state.json says that it failed{_because(left.error)}"
        return Conclusion("completed", reason)
    if left.status == "failed":
        return _failed(f"ui_state.json says that it failed{_because(left.error)} {against} {_so_far(left)}", left)
    if _saved(left):
        return Conclusion("stopped", f"{against} {_so_far(left)}".strip())
    return _failed(f"{against} It left no whole file and no state.", left)


def unfinished_business(left: Left) -> str | None:
    """Why it cannot go on although something of it is there; None if it can, if there is nothing to lose, or if it is
    completed."""
    if _against(left) is None or newest(left.states) is not None:
        return None
    if left.states:
        return f"none of its states is complete ({left.states[0].name}: {left.states[0].problem})"
    if left.went_on_from:
        return f"it went on from {left.went_on_from} and saved no state of its own"
    if not _saved(left):
        return None
    return "it saved no state, so it could only begin anew"


def _against(left: Left) -> str | None:
    """Why there is no final file that this training made; None if there is."""
    final = left.final
    if final is None:
        says = " although ui_state.json says that it completed" if left.status == "completed" else ""
        return f"It has no final file{says}."
    if final.problem is not None:
        return f"Its final file is torn: {final.problem}."
    if _earlier(final.started_at, left.asked_at, slack=CLOCK_SECONDS):
        return f"The final file {final.name} is of an earlier training."
    later = [lora.name for lora in left.others if _earlier(final.finished_at, lora.started_at)]
    return f"The final file {final.name} is of an earlier training than {later[0]}." if later else None


def _earlier(one: float | None, other: float | None, *, slack: float = 0.0) -> bool:
    """Whether that is known."""
    return one is not None and other is not None and one < other - slack


def _saved(left: Left) -> bool:
    """Whether there is training that would be lost."""
    return bool(left.states) or any(lora.problem is None for lora in left.others)


def _so_far(left: Left) -> str:
    state = newest(left.states)
    if state is not None:
        return f"Its newest complete state is {state.name}."
    whole = [lora for lora in left.others if lora.problem is None]
    if whole:
        return f"Its newest file is {max(whole, key=lambda lora: (lora.epoch or 0, lora.name)).name}."
    return ""


def _failed(reason: str, left: Left) -> Conclusion:
    # How it ended is not known: only its output can tell.
    failure = classify(ExitRecord(kind="unknown"), left.log)
    return Conclusion("failed", " ".join(reason.split()), failure.value)


def _because(error: str) -> str:
    sentence = " ".join(error.split()).rstrip(".")
    return f": {sentence}." if sentence else "."
