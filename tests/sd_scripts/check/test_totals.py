# SPDX-License-Identifier: Apache-2.0
"""How many LoRAs, states, samples and validations a training makes."""

from __future__ import annotations

import dataclasses

import pytest

from library.check import totals
from library.options import plan
from tests.sd_scripts.command_line import options

EPOCHS = "--max_train_epochs 5 --save_every_n_epochs 1"


@pytest.mark.parametrize(
    ("words", "first", "validates", "prompts", "expected"),
    [
        # (loras, kept, states, kept, samples, validations); an epoch has two steps.
        (EPOCHS, 0, False, 0, (5, 5, 0, 0, 0, 0)),
        (f"{EPOCHS} --save_state", 0, False, 0, (5, 5, 5, 5, 0, 0)),
        (f"{EPOCHS} --save_state --save_last_n_epochs 2", 0, False, 0, (5, 3, 5, 3, 0, 0)),
        (f"{EPOCHS} --save_state --save_last_n_epochs_state 1", 0, False, 0, (5, 5, 5, 2, 0, 0)),
        (f"{EPOCHS} --save_state_on_train_end", 0, False, 0, (5, 5, 1, 1, 0, 0)),
        (f"{EPOCHS} --save_state --ema_decay 0.9", 6, False, 0, (4, 4, 2, 2, 0, 0)),
        ("--max_train_steps 9 --save_every_n_steps 2 --save_last_n_steps 2", 0, False, 0, (5, 3, 0, 0, 0, 0)),
        (
            "--max_train_epochs 3 --sample_prompts p --sample_every_n_epochs 1 --sample_at_first",
            0,
            True,
            2,
            (1, 1, 0, 0, 8, 3),
        ),
        (
            "--max_train_epochs 3 --sample_prompts p --sample_every_n_steps 4 --sample_at_first",
            2,
            False,
            2,
            (1, 1, 0, 0, 2, 0),
        ),
        ("--max_train_epochs 3 --validate_every_n_steps 3", 0, True, 0, (1, 1, 0, 0, 0, 4)),
    ],
)
def test_each_kind_is_counted(
    words: str, first: int, validates: bool, prompts: int, expected: tuple[int, ...]
) -> None:
    given = options(*words.split())
    planned = plan.make(given, batches_per_epoch=2)
    counted = totals.count(given, planned, first_step=first, validates=validates, prompts=prompts)
    assert dataclasses.astuple(counted) == expected
