# SPDX-License-Identifier: Apache-2.0
"""Each event as a sentence, for a person who was away."""

import re
from typing import Any, get_args

import msgspec
import pytest

from fluxgym.protocol.messages import ResumeFrom
from fluxgymd.core.journal import events as e
from fluxgymd.core.journal.history import sentence
from tests.core import histories as h

ALL = h.next_events(1)

SENTENCES = {
    "submitted": "It was submitted.",
    "reserved": "Attempt 2 was prepared on GPU-1, from the beginning.",
    "spawned": "Its supervising process is 100.",
    "placed": "Its unit is fluxgym-my-lora-00000000.001.scope.",
    "started": "It runs as process 101.",
    "stop_asked": "A stop was requested.",
    "stop_later": "A stop after the next checkpoint was requested.",
    "unsupervised": "Its supervising process is gone, but it is still running; its exit status will not be known.",
    "sight_lost": "Lost contact with the job: its supervisor is gone.",
    "sight_regained": "Contact was restored, and the job is running.",
    "completed": "Finished successfully. It is completed.",
    "failed": "It failed. It is failed.",
    "stopped": "It was stopped. It is stopped.",
    "interrupted": "It was interrupted. It is interrupted. It will be retried automatically.",
    "never_started": "It was not started. It is never_started.",
    "retried": "It failed. It is failed. It will be retried automatically.",
    "not_retried": "It was interrupted. It is interrupted.",
    "cancelled": "It was cancelled.",
    "resume_asked": "It was queued again.",
    "held": "It was put on hold.",
    "released": "It was released.",
    "moved": "It was moved in the queue and now has priority 2.",
    "edited": "Its settings were changed.",
    "watchdog_off": "Its watchdog was set to off for 1 h.",
    "watchdog_warn": "Its watchdog was set to warn.",
    "barred": "It cannot be started: Its checkpoint does not fit its settings.",
    "imported": "It was created by an older FluxGym. It was stopped. Its log ends at step 40 of 160.",
    "stuck": "The watchdog found it stuck. Nothing moved for 600 s. It is being stopped.",
    "stuck_and_left": "The watchdog found it stuck. Nothing moved for 600 s. It is left running.",
    "disowned": "The user confirmed that attempt 1 is no longer running.",
    "restored": "It was removed, and restored.",
    "annotated": (
        "Its notes were changed: it has the group cats; the tags good, portrait; a note; my-lora.safetensors as its "
        "best LoRA."
    ),
}


@pytest.mark.parametrize("name", ALL)
def test_each_event_has_its_sentence(name: str) -> None:
    assert sentence(ALL[name]) == SENTENCES[name]


@pytest.mark.parametrize("name", ALL)
def test_each_text_begins_and_ends_like_a_sentence(name: str) -> None:
    assert re.fullmatch(r"[A-Z].*\.", sentence(ALL[name]))


def test_a_submit_names_the_checkpoint_that_the_job_starts_from() -> None:
    origin = ResumeFrom(job="cat", checkpoint="cat-000004-state")
    context = msgspec.structs.replace(h.CONTEXT, resume_from=origin)
    begun = msgspec.structs.replace(h.submitted(), context=context, step=64)
    assert sentence(begun) == (
        "It was submitted. It starts from the checkpoint cat-000004-state of the job cat, at step 64."
    )


def test_a_submit_says_which_stored_datasets_it_used() -> None:
    def said(**copied: Any) -> str:
        return sentence(msgspec.structs.replace(h.submitted(), copied=e.Copied(pictures=5, names="", **copied)))

    of_cats: dict[str, Any] = {"dataset": "cats", "revision": 3}
    assert said(**of_cats) == "It was submitted, with 5 pictures from revision 3 of the dataset cats."
    parts = (e.CopiedPart(pictures=4, names="", **of_cats), e.CopiedPart(pictures=1, names=""))
    begin = "It was submitted, with 5 pictures in 2 parts"
    assert said(parts=parts) == f"{begin}, with revision 3 of the dataset cats."
    assert said(parts=parts[:1] * 2) == f"{begin}, with revision 3 of the dataset cats."
    assert said(parts=parts[1:] * 2) == f"{begin}."


def test_a_reservation_says_where_and_from_which_checkpoint() -> None:
    resumed = msgspec.structs.replace(h.reserved(3, gpus=()), resumed_from="my-lora-000004-state", step=40)
    assert sentence(resumed) == "Attempt 3 was prepared on the CPU, from my-lora-000004-state at step 40."
    two = h.reserved(gpus=("GPU-1", "GPU-2"))
    assert sentence(two) == "Attempt 1 was prepared on GPU-1, GPU-2, from the beginning."


def test_an_end_reports_the_steps() -> None:
    end = msgspec.structs.replace(h.ended("interrupted"), step=50, steps_lost=10)
    assert sentence(end) == (
        "It was interrupted. It is interrupted. It had completed 50 steps. 10 of them must be repeated. "
        "It will be retried automatically."
    )


@pytest.mark.parametrize(
    ("outcome", "reason", "text"),
    [
        ("failed", "It exited with status 3: hello", "It failed. It exited with status 3: hello."),
        ("failed", "It exited with status 3.", "It failed. It exited with status 3."),
        # As version 0.1.0 wrote it.
        ("failed", "It failed with exit status 3.", "It failed with exit status 3."),
        ("stopped", "It was stopped by the user at step 4.", "It was stopped by the user at step 4."),
        ("stopped", "Its scope was stopped.", "It was stopped. Its scope was stopped."),
    ],
)
def test_an_end_is_not_reported_twice(outcome: str, reason: str, text: str) -> None:
    assert sentence(msgspec.structs.replace(h.ended(outcome), reason=reason)) == text
    old = msgspec.structs.replace(h.IMPORTED, outcome=outcome, reason=reason)
    assert sentence(old) == f"It was created by an older FluxGym. {text}"


def test_an_outcome_of_a_newer_version_is_reported_unchanged() -> None:
    assert sentence(h.ended("exploded")).startswith("It ended as exploded. ")


def test_every_event_of_the_journal_is_reported() -> None:
    assert {type(event) for event in ALL.values()} == set(get_args(e.AnyEvent))
