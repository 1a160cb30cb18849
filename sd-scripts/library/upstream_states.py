# SPDX-License-Identifier: Apache-2.0
"""States by sd-scripts: at which step a run goes on from one. Pure; the files are read in `states`.

The files are the same as ours, but the counter in train_state.json begins again at each resume (trainers.md 1.5). The
epoch in a folder's name does not, so it decides; where there is none the counter is taken, with a warning.
"""

from __future__ import annotations

import re


def step_of(name: str, *, told_step: int, steps_per_epoch: int) -> int:
    """Steps done since the very first run. `name`: the folder's; `steps_per_epoch`: of the run that goes on."""
    epoch = ended_epoch(name)
    return told_step if epoch is None else epoch * steps_per_epoch


def ended_epoch(name: str) -> int | None:
    """The epoch at whose end the state was saved: 4 for NAME-000004-state."""
    found = re.search(r"-(\d{6})-state(\.old)?$", name)
    return int(found[1]) if found else None


def doubts(name: str, *, step: int, steps_per_epoch: int, scheduled: int) -> str | None:
    """Why a step may be wrong, as a sentence. `scheduled`: the steps that the state's schedule has made in all."""
    if ended_epoch(name) is None:
        made = "" if scheduled == step else f" (its learning rate's schedule has made {scheduled} steps)"
        return (
            f"{name} by sd-scripts is taken for step {step} by its counter{made}; that counter begins again at each "
            "resume, so after one take a state with an epoch in its name, as NAME-000004-state"
        )
    if scheduled != step:
        return (
            f"{name} by sd-scripts is taken for step {step}, since an epoch has {steps_per_epoch} steps here; its "
            f"learning rate's schedule has made {scheduled} steps"
        )
    return None
