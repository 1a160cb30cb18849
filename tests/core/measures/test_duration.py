# SPDX-License-Identifier: Apache-2.0
"""How long a training will take: from runs of the same shape, else from others by their pixels, else not at all."""

from typing import Any

import msgspec
import pytest

from fluxgym.protocol.messages import Context
from fluxgym.protocol.plan_messages import PlannedTime
from fluxgymd.core.measures.duration import Run, Shape, estimate, shape_of
from tests.core.histories import CONTEXT, MODEL


def changed(**values: Any) -> Context:
    return msgspec.structs.replace(CONTEXT, **values)


def shape(**values: Any) -> Shape:
    return shape_of(changed(**values), gpu="RTX 4090")


def run(seconds: float, *, gpu: str = "RTX 4090", **values: Any) -> Run:
    return Run(shape=shape_of(changed(**values), gpu=gpu), seconds_per_step=seconds)


def told(median: float, lowest: float, highest: float, jobs: int, *, rough: bool) -> PlannedTime:
    return PlannedTime(
        seconds_per_step=median, lowest=lowest, highest=highest, jobs=jobs, rough=rough, seconds=median * 100
    )


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], None),
        ([run(2.0)], told(2.0, 2.0, 2.0, 1, rough=False)),
        ([run(2.0), run(5.0), run(3.0)], told(3.0, 2.0, 5.0, 3, rough=False)),
        ([run(2.0), run(99.0, network_dim=64)], told(2.0, 2.0, 2.0, 1, rough=False)),
        ([run(2.0, network_dim=64)], told(2.0, 2.0, 2.0, 1, rough=True)),
        ([run(8.0, resolution=1024)], told(2.0, 2.0, 2.0, 1, rough=True)),
        ([run(8.0, trainer_options={"train_batch_size": ["4"]})], told(2.0, 2.0, 2.0, 1, rough=True)),
        ([run(2.0, gpu="H100")], None),
        ([run(2.0, model=msgspec.structs.replace(MODEL, transformer="/m/other.sft"))], None),
        ([run(2.0, gpu_count=2)], None),
    ],
)
def test_the_time_comes_from_comparable_runs_only(runs: list[Run], expected: PlannedTime | None) -> None:
    assert estimate(shape(), runs, steps=100) == expected


@pytest.mark.parametrize(
    "values",
    [
        {"name": "other", "dataset": "/other", "seed": 7, "epochs": 1, "repeats": 1, "trigger_word": "x"},
        {"priority": 5, "gpus": ["1"], "keep_states": 9, "watchdog_limits": {"progress": 5.0}},
        {"trainer_options": {"save_every_n_steps": ["5"], "lr_scheduler": ["cosine"], "logging_dir": ["x"]}},
    ],
)
def test_what_does_not_change_the_time_of_a_step_does_not_change_the_shape(values: dict[str, Any]) -> None:
    assert shape(**values) == shape()


@pytest.mark.parametrize(
    "values",
    [
        {"resolution": 1024},
        {"network_dim": 16},
        {"gpu_count": 2},
        {"trainer_options": {"network_args": ["train_blocks=single"]}},
        {"trainer_options": {"train_batch_size": ["2"]}},
        {"trainer_options": {"gradient_accumulation_steps": ["2"]}},
        {"trainer_options": {"fp8_base": []}},
        {"trainer_options": {"enable_bucket": []}},
        {"trainer_options": {"vram": ["12"]}},
    ],
)
def test_what_changes_the_time_of_a_step_changes_the_shape(values: dict[str, Any]) -> None:
    assert shape(**values) != shape()
