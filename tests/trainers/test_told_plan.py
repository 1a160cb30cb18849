# SPDX-License-Identifier: Apache-2.0
"""The plan in a trainer's answer becomes a forecast in the words of the job."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from fluxgym.protocol.plan_messages import PlannedMemory, Size
from fluxgymd.core.journal.decoding import decode
from fluxgymd.trainers import answer
from fluxgymd.trainers.answer import CheckAnswer
from fluxgymd.trainers.planned_size import all_saves
from fluxgymd.trainers.port import CheckReport
from fluxgymd.trainers.told_plan import ToldPlan
from tests.core.histories import CONTEXT
from tests.trainers.plans import FOLDER, picture, plan


def report(**changes: Any) -> CheckReport:
    data = {"format": 1, "problems": [], "warnings": [], "state": None, "files": [], "plan": plan(**changes)}
    return answer.report(decode(json.dumps(data).encode(), CheckAnswer), CONTEXT, FOLDER)


def test_sizes_and_boxes_are_told() -> None:
    forecast = report().forecast
    assert forecast is not None
    (first, _) = forecast.pictures
    assert (first.path, first.size, first.resized) == (
        "/p/1.png",
        Size(width=80, height=64),
        Size(width=80, height=64),
    )
    assert (first.bucket, first.left, first.top) == (Size(width=64, height=64), 8, 0)
    (bucket,) = forecast.buckets
    assert (bucket.part, bucket.size, bucket.batches, bucket.batch_size) == (0, Size(width=64, height=64), 2, 4)
    assert (forecast.training.total_steps, forecast.caches_bytes) == (6, 1000)


@pytest.mark.parametrize(
    ("tokens", "cut"),
    [
        ([(77, 512), (10, 10)], (0, 0)),
        ([(78, 512), (90, 513)], (2, 1)),
        ([(78, 512), (None, None)], (None, None)),
    ],
)
def test_captions_that_are_cut_are_counted(
    tokens: list[tuple[int | None, int | None]], cut: tuple[int | None, int | None]
) -> None:
    pictures = [picture(f"/p/{index}.png", clipTokens=clip, t5Tokens=t5) for index, (clip, t5) in enumerate(tokens)]
    forecast = report(pictureList=pictures).forecast
    assert forecast is not None
    assert (forecast.training.cut_by_clip, forecast.training.cut_by_t5) == cut


def test_a_picture_in_two_parts_counts_once_among_the_captions_that_are_cut() -> None:
    twice = [picture("/p/1.png", dataset=part, clipTokens=9, t5Tokens=900) for part in (0, 1)]
    forecast = report(pictureList=twice).forecast
    assert forecast is not None
    assert forecast.training.cut_by_t5 == 1


def test_a_gpu_that_is_too_small_is_told_in_the_words_of_the_job() -> None:
    problem = "this training needs about 30.0 GB; use a smaller batch or --network_dim, --optimizer_type adafactor"
    forecast = report(memory={**plan()["memory"], "problem": problem}).forecast
    assert forecast is not None
    assert forecast.training.memory == PlannedMemory(
        available=100,
        estimated=90,
        base="fp8",
        checkpointed_blocks=57,
        swapped_blocks=4,
        blocks=57,
        problem="This training needs about 30.0 GB; use a smaller batch or network_dim, --optimizer_type adafactor.",
    )


def test_without_the_fields_of_plan_there_is_no_forecast() -> None:
    assert report(caches=None).forecast is None
    old = decode(b'{"stateBytes": 100, "loraBytes": 10}', ToldPlan)
    assert old.forecast(str) is None
    assert old.loras_at_once is None


@pytest.mark.parametrize(("loras", "kept", "at_once"), [(5, 5, 5), (5, 3, 4), (1, 1, 1)])
def test_the_disk_must_hold_the_loras_that_exist_at_one_time(loras: int, kept: int, at_once: int) -> None:
    found = report(loras=loras, lorasKept=kept, states=2)
    assert found.disk_bytes == all_saves(CONTEXT, state=100, lora=10, states=2, loras=at_once)
    more = msgspec.structs.replace(CONTEXT, epochs=1000)
    assert all_saves(more, state=100, lora=10, states=2, loras=at_once) == found.disk_bytes
