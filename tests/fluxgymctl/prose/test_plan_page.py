# SPDX-License-Identifier: Apache-2.0
"""The page that `submit --plan` prints, and the object that it prints with --json."""

from __future__ import annotations

from typing import Any

import pytest

from fluxgym.errors import AnswerMissing
from fluxgym.protocol.methods import PlanReply
from fluxgym.protocol.plan_messages import (
    JobPlan,
    PlannedBucket,
    PlannedDisk,
    PlannedMemory,
    PlannedPicture,
    PlannedTime,
    PlannedTraining,
    Size,
)
from fluxgymctl.prose import plan_page
from fluxgymctl.prose.plan_page import WholePlan

MEMORY = PlannedMemory(
    available=12 << 30, estimated=11 << 30, base="fp8", checkpointed_blocks=57, swapped_blocks=4, blocks=57
)
TIME = PlannedTime(seconds_per_step=2.0, lowest=1.5, highest=2.5, jobs=3, rough=False, seconds=8 * 3600)


def training(**changes: Any) -> PlannedTraining:
    values: dict[str, Any] = {
        "pictures": 2,
        "repeated_pictures": 20,
        "batches_per_epoch": 20,
        "steps_per_epoch": 20,
        "total_steps": 320,
        "total_epochs": 16,
        "loras": 4,
        "states": 4,
        "samples": 8,
        "validations": 0,
        "lora_bytes": 19 << 20,
        "state_bytes": 58 << 20,
        "clip_reads": 77,
        "t5_reads": 512,
        "cut_by_clip": 1,
        "cut_by_t5": 0,
        "latents_to_encode": 2,
        "texts_to_encode": 2,
        "memory": MEMORY,
    }
    return PlannedTraining(**(values | changes))


def picture(path: str, *, clip: int | None = 10, t5: int | None = 12) -> PlannedPicture:
    size = Size(width=512, height=512)
    return PlannedPicture(
        path=path,
        part=0,
        size=size,
        resized=size,
        bucket=size,
        left=0,
        top=0,
        repeats=10,
        regularisation=False,
        validated=False,
        clip_tokens=clip,
        t5_tokens=t5,
    )


def bucket(width: int, height: int, **changes: Any) -> PlannedBucket:
    values = {"part": 0, "pictures": 1, "repeated_pictures": 10, "batch_size": 1, "batches": 10} | changes
    return PlannedBucket(size=Size(width=width, height=height), **values)


def plan(**changes: Any) -> JobPlan:
    values: dict[str, Any] = {
        "problems": [],
        "warnings": [],
        "training": training(),
        "disk": PlannedDisk(saves=400 << 20, pictures=5 << 20, caches=18 << 20, free=50 << 30),
        "time": TIME,
        "ahead": 1,
        "running": 1,
    }
    return JobPlan(**(values | changes))


def page(told: JobPlan, *, buckets: list[PlannedBucket] | None = None, width: int | None = 100) -> list[str]:
    whole = WholePlan(
        plan=told,
        buckets=buckets or [bucket(512, 512), bucket(576, 448)],
        pictures=[picture("/p/1.png"), picture("/p/2.png", clip=91, t5=104)],
    )
    return list(plan_page.lines("my-cat", whole, width=width))


def test_a_job_that_would_be_queued() -> None:
    assert page(plan()) == [
        "my-cat: 2 pictures, 320 steps in 16 epochs of 20 steps.",
        "It makes 4 LoRAs of 19.0 MiB, 4 states of 58.0 MiB and 8 samples.",
        "",
        "TRAINED AT  PICTURES  WITH REPEATS  BATCHES",
        "512 x 512   1         10            10",
        "576 x 448   1         10            10",
        "",
        "T5, whose tokens the model reads, cuts 0 captions at 512 tokens. CLIP-L, which adds one vector, cuts",
        "1 caption at 77.",
        "CAPTION OF  T5   CLIP-L",
        "2.png       104  91",
        "",
        "Caches: 2 pictures and 2 captions to encode first",
        "Memory: about 11.0 GiB of 12.0 GiB, with an fp8 base, 57 of 57 blocks checkpointed and 4 swapped",
        "Disk:   400.0 MiB for LoRAs and states, 5.0 MiB for pictures and 18.0 MiB for caches; 50.0 GiB free",
        "Time:   about 8 h 00 min for the steps, at 2.00 s (1.50 s to 2.50 s) a step, from 3 jobs of the same",
        "        shape",
        "Queue:  1 job runs, 1 job waits before it",
    ]


def test_problems_come_first_and_warnings_last() -> None:
    told = plan(problems=["There is no GPU 7.", "x is wrong."], warnings=["y is odd."], training=None, time=None)
    lines = page(told)
    assert lines[:3] == ["my-cat would be refused.", "- There is no GPU 7.", "- x is wrong."]
    assert lines[-2:] == ["Warning", "- y is odd."]
    assert not any(line.startswith("Queue") for line in lines)


@pytest.mark.parametrize(
    ("changes", "label", "text"),
    [
        ({"time": None}, "Time", "not known, since nothing comparable has run on this machine"),
        (
            {"time": PlannedTime(seconds_per_step=60, lowest=60, highest=60, jobs=1, rough=True, seconds=600)},
            "Time",
            "a rough guess: about 10 min for the steps, at 1 min a step, from 1 job of other settings",
        ),
        ({"training": training(memory=None)}, "Memory", "not known, since no GPU is known"),
        ({"training": training(latents_to_encode=0, texts_to_encode=0)}, "Caches", "all are there"),
        ({"ahead": 0, "running": 0}, "Queue", "it would start at once"),
    ],
)
def test_what_is_not_known_is_not_invented(changes: dict[str, Any], label: str, text: str) -> None:
    (line,) = [line for line in page(plan(**changes)) if line.startswith(f"{label}:")]
    assert line.partition(":")[2].strip() == text


def test_resolutions_and_batches_are_told_where_there_are_several() -> None:
    lines = page(plan(), buckets=[bucket(512, 512, batch_size=4, batches=3), bucket(768, 768, part=1)])
    assert lines[3:6] == [
        "RESOLUTION  TRAINED AT  PICTURES  WITH REPEATS  BATCHES",
        "1           512 x 512   1         10            3 of 4",
        "2           768 x 768   1         10            10",
    ]


def test_a_program_has_a_place_in_the_queue_only() -> None:
    told = plan(training=None, disk=None, time=None)
    assert page(told) == ["my-cat would be queued.", "", "Queue: 1 job runs, 1 job waits before it"]


def test_the_replies_are_gathered_into_one_object() -> None:
    replies = [PlanReply(bucket=bucket(64, 64)), PlanReply(picture=picture("/p/1.png")), PlanReply(plan=plan())]
    whole = plan_page.gathered(replies)
    assert (len(whole.buckets), len(whole.pictures), whole.plan) == (1, 1, plan())
    with pytest.raises(AnswerMissing):
        plan_page.gathered(replies[:2])
