# SPDX-License-Identifier: Apache-2.0
"""What the GPUs of a job do, in words: an unknown value never looks like a zero."""

from typing import Any

import pytest

from fluxgym.protocol.messages import Job
from fluxgymctl.prose import gpu
from tests.fluxgymctl.wire import attempt, job
from tests.fluxgymctl.wire import gpu as card

UNTOLD = {"utilization": None, "memoryUsed": None, "temperature": None, "powerDraw": None}


def on_gpu(*cards: dict[str, Any], **runtime: Any) -> Job:
    held = attempt(gpus=[one["uuid"] for one in cards] or ["GPU-a"])
    return job(**({"attempt": held, "gpus": list(cards)} | runtime))


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (card(), "93% busy, 20.0 GiB of 24.0 GiB, 71 C, 280 of 450 W"),
        (card(powerLimit=None, memoryTotal=None), "93% busy, 20.0 GiB, 71 C, 280 W"),
        (
            card(utilization=0, temperature=0, powerDraw=0.0, memoryUsed=0),
            "0% busy, 0 B of 24.0 GiB, 0 C, 0 of 450 W",
        ),
        (card(**UNTOLD), "load unknown, memory unknown, temperature unknown, power unknown"),
        (card(lost=True), "lost: it fell off the bus"),
    ],
)
def test_status_shows_what_is_known_about_a_gpu(shown: dict[str, Any], text: str) -> None:
    assert gpu.facts(on_gpu(shown)) == [("GPU 0", text)]


def test_each_gpu_has_its_line() -> None:
    found = gpu.facts(on_gpu(card(), card(index=3, uuid="GPU-b", utilization=1)))
    assert [label for label, _ in found] == ["GPU 0", "GPU 3"]


def test_a_driver_that_does_not_answer_is_unknown() -> None:
    silent = on_gpu(gpus=None)
    assert gpu.facts(silent) == [("GPU", "unknown: the driver has not answered")]
    assert gpu.parts(silent) == ["GPU unknown"]
    assert gpu.load(silent) == "unknown"


@pytest.mark.parametrize(
    "without",
    [job(), job(attempt=attempt(), gpus=[]), on_gpu(card(), state="completed"), on_gpu(card(), state="starting")],
    ids=["no attempt", "on the CPU", "it has ended", "its trainer has not started"],
)
def test_nothing_is_shown_about_gpus_if_none_is_used(without: Job) -> None:
    assert (gpu.facts(without), gpu.parts(without), gpu.load(without)) == ([], [], "-")


def test_one_line_shows_all_gpus() -> None:
    assert gpu.parts(on_gpu(card())) == ["GPU 93%", "20.0 GiB", "71 C", "280 W"]
    both = on_gpu(card(), card(index=1, uuid="GPU-b", **UNTOLD))
    assert gpu.parts(both) == ["GPU 93/?%", "20.0/? GiB", "71/? C", "280/? W"]
    assert gpu.load(both) == "93/?%"
    assert gpu.parts(on_gpu(card(), card(uuid="GPU-b", lost=True))) == ["GPU lost"]
