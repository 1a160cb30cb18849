# SPDX-License-Identifier: Apache-2.0
"""States by sd-scripts: the step from which a run continues. Pure; `states` reads the files.

The files are the same as FluxGym's, but sd-scripts restarts the counter in train_state.json at each resume. It does
not restart the epoch in a folder's name, so that epoch decides; without one, the counter is used, with a warning.
"""

from __future__ import annotations

import re


def step_of(name: str, *, told_step: int, steps_per_epoch: int) -> int:
    """The number of steps done since the start of the training. `name`: the folder's; `told_step`: the counter in the
    state; `steps_per_epoch`: that of the run that resumes."""
    epoch = ended_epoch(name)
    return told_step if epoch is None else epoch * steps_per_epoch


def ended_epoch(name: str) -> int | None:
    """The epoch at whose end the state was saved, from the folder's name: 4 for NAME-000004-state, None without an
    epoch."""
    found = re.search(r"-(\d{6})-state(\.old)?$", name)
    return int(found[1]) if found else None


def doubts(name: str, *, step: int, steps_per_epoch: int, scheduled: int) -> str | None:
    """A sentence saying why `step` may be wrong, or None. `scheduled`: how many steps the state's schedule made."""
    if ended_epoch(name) is None:
        made = "" if scheduled == step else f" (its learning rate's schedule has made {scheduled} steps)"
        return (
            f"{name} by sd-scripts is assumed to be at step {step}, the value of its counter{made}; sd-scripts "
            "restarts that counter at each resume, so if that run was resumed, use a state with an epoch in its "
            "name, such as NAME-000004-state"
        )
    if scheduled != step:
        return (
            f"{name} by sd-scripts is assumed to be at step {step}, since an epoch has {steps_per_epoch} steps here, "
            f"but its learning rate's schedule has made {scheduled} steps"
        )
    return None
