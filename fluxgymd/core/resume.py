# SPDX-License-Identifier: Apache-2.0
"""Where a job goes on: the newest complete checkpoint, by the steps done and never by a file's time."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFacts:
    """One `-state` folder, as it was found."""

    name: str
    epoch: int | None
    step: int | None
    problem: str | None
    """Why it cannot be resumed from; None if it can."""
    size: int
    """Bytes."""
    created_at: float

    @property
    def complete(self) -> bool:
        return self.problem is None


def newest(checkpoints: Iterable[CheckpointFacts]) -> CheckpointFacts | None:
    """The one to resume from; None to begin at the start."""
    usable = [checkpoint for checkpoint in checkpoints if checkpoint.complete and checkpoint.step is not None]
    return max(usable, key=lambda checkpoint: (checkpoint.step or 0, checkpoint.name), default=None)


def is_state_folder(folder: str, output_name: str) -> bool:
    """Whether a folder's name is one of sd-scripts' names for a state of this output name (trainers.md 1.4)."""
    if not folder.startswith(output_name):
        return False
    return re.fullmatch(r"(-\d{6}|-step\d{8})?-state", folder[len(output_name) :]) is not None
