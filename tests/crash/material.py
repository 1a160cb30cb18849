# SPDX-License-Identifier: Apache-2.0
"""The training that is killed: as short as it can be while still allowing a stop and a resume in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from fluxgym.protocol.messages import Context
from tests.daemon.running import context

STEPS = 32


def short(name: str, model: Path, **changes: Any) -> Context:
    """8 pictures, 4 epochs of 8 steps, and a state after every second epoch. Its steps are slow, so that it does not
    end while the daemon is killed and started between a step and a stop."""
    job = context(name, model, **({"repeats": 1, "epochs": 4, "save_every_epochs": 2} | changes))
    slow = {"t5xxl_max_token_length": ["512"]}
    return msgspec.structs.replace(job, trainer_options=(job.trainer_options or {}) | slow)
