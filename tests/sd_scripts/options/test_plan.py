# SPDX-License-Identifier: Apache-2.0
"""The number of steps and epochs of a training, and what is due after each step."""

from __future__ import annotations

import pytest

from library.options import plan
from tests.sd_scripts.command_line import options


@pytest.mark.parametrize(
    ("words", "batches", "per_epoch", "total", "epochs"),
    [
        ("--max_train_epochs 3", 10, 10, 30, 3),
        ("--max_train_epochs 3 --gradient_accumulation_steps 4", 10, 3, 9, 3),
        ("--max_train_steps 25", 10, 10, 25, 3),
        ("", 10, 10, 1600, 160),
    ],
)
def test_steps_and_epochs_determine_each_other(
    words: str, batches: int, per_epoch: int, total: int, epochs: int
) -> None:
    made = plan.make(options(*words.split()), batches_per_epoch=batches)
    assert (made.steps_per_epoch, made.total_steps, made.total_epochs) == (per_epoch, total, epochs)


@pytest.mark.parametrize(
    "words",
    [
        "--max_train_steps 7 --save_every_n_epochs 2 --save_every_n_steps 3",
        "--max_train_epochs 5 --sample_prompts p --sample_every_n_epochs 2 --validate_every_n_epochs 3",
        "--max_train_steps 11 --sample_prompts p --sample_every_n_steps 4 --validate_every_n_steps 5",
    ],
)
@pytest.mark.parametrize("first", [0, 3, 4, 7])
@pytest.mark.parametrize("validates", [False, True])
def test_everything_due_from_a_step_on_is_found_without_checking_each_step(
    words: str, first: int, validates: bool
) -> None:
    given = options(*words.split())
    made = plan.make(given, batches_per_epoch=2)
    each = [(step, plan.due_after(given, made, step, validates=validates)) for step in range(1, made.total_steps + 1)]
    found = list(plan.dues(given, made, first_step=first, validates=validates))
    assert found == [(step, due) for step, due in each if step > first and due.anything]


def test_the_work_due_after_each_step_is_known() -> None:
    words = "--max_train_steps 7 --save_every_n_epochs 2 --save_every_n_steps 3 --sample_prompts p.txt"
    given = options(*words.split())
    made = plan.make(given, batches_per_epoch=2)
    steps = range(1, 8)
    assert [made.epoch_of(step) for step in (0, *steps)] == [1, 1, 1, 2, 2, 3, 3, 4]
    assert [step for step in steps if made.ends_epoch(step)] == [2, 4, 6, 7]
    assert [step for step in steps if plan.due_after(given, made, step).save_epoch] == [4]
    assert [step for step in steps if plan.due_after(given, made, step).save_step] == [3, 6]
    words = "--max_train_steps 7 --sample_prompts p --sample_every_n_epochs 2 --sample_every_n_steps 1"
    by_epoch = options(*words.split())
    assert [step for step in steps if plan.due_after(by_epoch, made, step).sample_epoch] == [4, 7]
    assert not any(plan.due_after(by_epoch, made, step).sample_step for step in steps)
