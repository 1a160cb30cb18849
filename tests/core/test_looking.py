# SPDX-License-Identifier: Apache-2.0
"""What each look at an attempt leads to, and when a stop waits for a checkpoint."""

from __future__ import annotations

import pytest

from fluxgymd.core.evidence import (
    Conclusion,
    Exited,
    LeftOver,
    LostSight,
    NeverStarted,
    Rebooted,
    Runs,
    RunsAlone,
)
from fluxgymd.core.journal.records import ExitRecord
from fluxgymd.core.looking import (
    Action,
    Finish,
    LookAgain,
    Memory,
    NoteLost,
    NoteRunning,
    NoteUnsupervised,
    StopRest,
    step,
    waits_for_checkpoint,
)
from fluxgymd.core.resume import CheckpointFacts

WELL = ExitRecord(kind="exited", code=0)


def after(*conclusions: Conclusion) -> tuple[Memory, list[Action]]:
    """The memory after looks with these conclusions, and the action that each of them led to."""
    memory, actions = Memory(), []
    for conclusion in conclusions:
        memory, action = step(memory, conclusion)
        actions.append(action)
    return memory, actions


@pytest.mark.parametrize("over", [Exited(WELL), Exited(None), NeverStarted(), Rebooted()])
def test_an_end_counts_at_once(over: Exited | NeverStarted | Rebooted) -> None:
    assert after(over)[1] == [Finish(over)]


@pytest.mark.parametrize(
    ("odd", "action"),
    [
        (RunsAlone(), NoteUnsupervised()),
        (LeftOver(WELL), StopRest()),
        (LostSight("nothing answers"), NoteLost("nothing answers")),
    ],
)
def test_anything_odd_counts_when_two_looks_in_a_row_have_seen_it(odd: Conclusion, action: Action) -> None:
    assert after(odd, odd, odd)[1] == [LookAgain(), action, action]
    assert after(odd, Runs(), odd)[1] == [LookAgain(), NoteRunning(), LookAgain()]


def test_the_second_look_says_why_contact_was_lost() -> None:
    assert after(LostSight("first"), LostSight("second"))[1][-1] == NoteLost("second")


@pytest.mark.parametrize(
    ("conclusions", "seen"),
    [
        ([Runs()], True),
        ([Runs(), Exited(WELL)], True),
        ([RunsAlone()], False),
        ([RunsAlone(), RunsAlone()], True),
        ([LeftOver(None), LeftOver(None)], False),
        ([LostSight("x"), LostSight("x"), NeverStarted()], False),
    ],
)
def test_an_attempt_was_seen_running_only_if_a_look_was_sure(conclusions: list[Conclusion], seen: bool) -> None:
    assert after(*conclusions)[0].seen_running is seen


def checkpoint(name: str, *, final: bool = False) -> CheckpointFacts:
    return CheckpointFacts(name=name, epoch=1, step=8, problem=None, size=1, created_at=0.0, final=final)


@pytest.mark.parametrize(
    ("newest", "before", "waits"),
    [
        (None, "", True),
        (checkpoint("a"), "", False),
        (checkpoint("a"), "a", True),
        (checkpoint("b"), "a", False),
        (None, "a", False),
        (checkpoint("b", final=True), "a", True),
    ],
)
def test_a_stop_waits_until_a_checkpoint_is_new(newest: CheckpointFacts | None, before: str, waits: bool) -> None:
    assert waits_for_checkpoint(newest, before=before) is waits
