# SPDX-License-Identifier: Apache-2.0
"""How far a run is, as recorded in a state. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is. `step` steps are done; `epoch` (from 1) is the epoch of the last of them.

    `total_steps`, `seed`, `choices` (the fields of `choices.Choices`) and `processes` (how many trained together) are
    None if sd-scripts wrote the state. `optimizer` is the name of the optimizer's class, which older states lack.
    """

    step: int
    epoch: int
    total_steps: int | None
    steps_per_epoch: int
    seed: int | None
    choices: Mapping[str, object] | None
    processes: int | None
    optimizer: str | None = None

    @property
    def foreign(self) -> bool:
        """Whether sd-scripts wrote the state."""
        return self.seed is None
