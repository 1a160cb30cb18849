# SPDX-License-Identifier: Apache-2.0
"""The steps' batches, also shared among processes, and how they are prepared ahead of time."""

from __future__ import annotations

import math
import threading

import pytest
import torch

from library.errors import TrainerError
from library.flow.batches import Batch, Position, prefetch, steps
from library.options import plan
from tests.harness.waiting import DEADLINE_SECONDS
from tests.sd_scripts.command_line import options

BATCH_FIELDS = (
    "latents_BChw",
    "noise_BChw",
    "sigma_B",
    "is_reg_B",
    "mask_B1hw",
)


def test_steps_never_cross_epochs() -> None:
    found = list(steps(first_step=1, last_step=4, batches_per_epoch=3, accumulation=2))
    assert [(s.number, s.epoch, s.batches) for s in found] == [(2, 0, 1), (3, 1, 2), (4, 1, 1)]
    assert [[(p.epoch, p.batch, p.step) for p in s.positions] for s in found] == [
        [(0, 2, 2)],
        [(1, 0, 3), (1, 1, 3)],
        [(1, 2, 4)],
    ]


@pytest.mark.parametrize(("processes", "accumulation"), [(2, 1), (2, 3), (3, 2), (4, 1)])
@pytest.mark.parametrize("batches", [1, 5, 12])
def test_processes_share_the_batches_that_one_process_would_accumulate(
    processes: int, accumulation: int, batches: int
) -> None:
    of = {"first_step": 0, "last_step": 5, "batches_per_epoch": batches}
    alone = list(steps(**of, accumulation=processes * accumulation))
    shares = [list(steps(**of, accumulation=accumulation, processes=processes, rank=r)) for r in range(processes)]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert {(part.number, part.epoch, part.batches) for part in parts} == {
            (whole.number, whole.epoch, whole.batches)
        }
        start = whole.positions[0].batch
        for rank, part in enumerate(parts):
            assert len(part.positions) <= accumulation
            assert [p.batch for p in part.positions] == [
                start + k * processes + rank for k in range(len(part.positions))
            ]
        shared = sorted((p for part in parts for p in part.positions), key=lambda p: p.batch)
        assert shared == list(whole.positions)
    made = plan.make(
        options("--max_train_epochs", "3", "--gradient_accumulation_steps", str(accumulation)),
        batches_per_epoch=batches,
        processes=processes,
    )
    # sd-scripts: epochs * ceil(batches / processes / accumulation)
    assert made.total_steps == 3 * math.ceil(batches / processes / accumulation)
    assert made.batches_per_process == math.ceil(batches / processes)


def test_prefetching_keeps_the_order_and_runs_ahead() -> None:
    wanted = [Position(epoch=0, batch=index, step=index + 1) for index in range(20)]
    first_is_slow = threading.Event()

    def make(position: Position) -> Batch:
        if position.step == 1:
            assert first_is_slow.wait(timeout=DEADLINE_SECONDS)
        if position.step == 3:
            first_is_slow.set()
        return Batch(position=position, texts={}, **dict.fromkeys(BATCH_FIELDS, torch.zeros(1)))

    made = [batch.position for batch in prefetch(make, wanted, threads=3)]
    assert made == wanted


def test_an_error_in_a_thread_reaches_the_loop() -> None:
    def fail(_position: Position) -> Batch:
        raise TrainerError("the cache is gone")

    with pytest.raises(TrainerError, match="gone"):
        list(prefetch(fail, [Position(epoch=0, batch=0, step=1)], threads=2))
