# SPDX-License-Identifier: Apache-2.0
"""Names of files are those of sd-scripts, and which saves a new one makes outdated."""

from __future__ import annotations

import pytest

from library.output import names
from library.output.names import Moment
from tests.sd_scripts.command_line import options


@pytest.mark.parametrize(
    ("moment", "lora", "state"),
    [
        (Moment(epoch=4), "n-000004.safetensors", "n-000004-state"),
        (Moment(step=150), "n-step00000150.safetensors", "n-step00000150-state"),
        (Moment(), "n.safetensors", "n-state"),
    ],
)
def test_names_are_those_of_sd_scripts(moment: Moment, lora: str, state: str) -> None:
    assert (names.lora_name(options(), moment), names.state_name(options(), moment)) == (lora, state)


@pytest.mark.parametrize(
    ("words", "moment", "state", "removed"),
    [
        ("--save_every_n_epochs 2 --save_last_n_epochs 2", Moment(epoch=8), False, Moment(epoch=4)),
        ("--save_every_n_epochs 2 --save_last_n_epochs 2", Moment(epoch=4), False, None),
        ("--save_every_n_epochs 2 --save_last_n_epochs 2", Moment(epoch=8), True, Moment(epoch=4)),
        ("--save_every_n_epochs 2 --save_last_n_epochs_state 1", Moment(epoch=8), True, Moment(epoch=6)),
        ("--save_every_n_epochs 2 --save_last_n_epochs_state 1", Moment(epoch=8), False, None),
        # Recorded from sd-scripts: saving every 5 steps with last 5 keeps 15 and 20 at step 20.
        ("--save_every_n_steps 5 --save_last_n_steps 5", Moment(step=20), False, Moment(step=10)),
        ("--save_every_n_steps 5 --save_last_n_steps 5", Moment(step=15), True, Moment(step=5)),
        ("--save_every_n_steps 5 --save_last_n_steps 5", Moment(step=10), False, None),
        ("--save_every_n_epochs 1 --save_last_n_epochs 1", Moment(), False, None),
    ],
)
def test_a_save_makes_older_files_outdated(words: str, moment: Moment, state: bool, removed: Moment | None) -> None:
    assert names.outdated(options(*words.split()), moment, state=state) == removed
