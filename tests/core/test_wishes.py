# SPDX-License-Identifier: Apache-2.0
"""What a running training can be asked to do in each state, and why it cannot."""

import msgspec
import pytest

from fluxgym.protocol.messages import Kind, Phase
from fluxgymd.core.job import fold
from fluxgymd.core.wishes import REQUESTS, Wish, why_not
from tests.core import histories as h

PROMPTS = msgspec.structs.replace(h.CONTEXT, sample_prompts=["a cat"])
ASKED = {"running", "stopping later"}
"""The ways into a state in which a training can be asked."""


@pytest.mark.parametrize("wish", Wish)
@pytest.mark.parametrize("way", [way for way, history in h.WAYS.items() if history])
def test_only_a_running_training_can_be_asked(way: str, wish: Wish) -> None:
    job = msgspec.structs.replace(fold(h.WAYS[way]), context=PROMPTS)
    refusal = why_not(job, wish, understood=REQUESTS, phase=Phase.TRAINING)
    assert refusal == (None if way in ASKED else "it is not running")


@pytest.mark.parametrize("phase", [*Phase, None])
def test_it_can_be_asked_in_every_phase_but_the_last(phase: Phase | None) -> None:
    job = msgspec.structs.replace(fold(h.WAYS["running"]), context=PROMPTS)
    refusal = why_not(job, Wish.SAVE, understood=REQUESTS, phase=phase)
    last = "its training is over, and its final files are being saved"
    assert refusal == (last if phase is Phase.FINISHING else None)


def test_an_impossible_request_is_refused_with_the_reason() -> None:
    job = fold(h.WAYS["running"])
    program = msgspec.structs.replace(job, context=msgspec.structs.replace(PROMPTS, kind=Kind.PROGRAM))
    stuck = fold([*h.WAYS["running"], h.stuck()])
    for found, wish, understood, why in (
        (job, Wish.SAMPLE, REQUESTS, "it has no sample prompts"),
        (job, Wish.SAVE, {Wish.SAMPLE.value}, "its trainer does not save on request"),
        (program, Wish.SAMPLE, REQUESTS, "it is a program, which cannot draw samples on request"),
        (stuck, Wish.SAVE, REQUESTS, "it hangs, and is being stopped"),
    ):
        assert why_not(found, wish, understood=understood, phase=Phase.TRAINING) == why
