# SPDX-License-Identifier: Apache-2.0
"""Where a job resumes: by epoch and step, and only from a state that is complete and that its trainer accepts."""

from typing import Any

import pytest

from fluxgymd.core.resume import (
    Begin,
    CheckpointFacts,
    GoOn,
    Impossible,
    Use,
    aside_name,
    choose,
    newest,
    outdated,
    surplus,
)


def state(name: str, step: int | None, *, epoch: int | None = None, **changes: Any) -> CheckpointFacts:
    values: dict[str, Any] = {"problem": None, "size": 1, "created_at": 0.0} | changes
    return CheckpointFacts(name=name, epoch=epoch, step=step, **values)


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ([], None),
        ([state("a", 10)], "a"),
        ([state("a", 10), state("b", 20), state("c", 15)], "b"),
        # A folder's time doesn't count, since the folder may have been copied or touched.
        ([state("old", 20, created_at=1.0), state("new", 10, created_at=9.0)], "old"),
        ([state("a", 10), state("torn", 20, problem="optimizer.bin is missing")], "a"),
        ([state("torn", 20, problem="train_state.json is missing")], None),
        ([state("unknown", None)], None),
        ([state("zero", 0)], "zero"),
        # sd-scripts writes both at the end. The final one is chosen, whichever is found first.
        ([state("my-lora-state", 20), state("my-lora-000004-state", 20)], "my-lora-state"),
        ([state("my-lora-000004-state", 20), state("my-lora-state", 20)], "my-lora-state"),
    ],
)
def test_promise_5_the_newest_complete_checkpoint_is_taken(found: list[CheckpointFacts], name: str | None) -> None:
    best = newest(found)
    assert (best.name if best else None) == name


def test_a_job_that_began_with_a_checkpoint_never_starts_over_at_step_0() -> None:
    for found in ([], [state("torn", 10, problem="optimizer.bin is missing")]):
        assert choose(found, origin="cat") == Impossible(
            "It started from a checkpoint of the job cat, but no longer has a complete checkpoint; submit it again."
        )
    kept = state("a", 10)
    assert choose([kept], origin="cat") == GoOn(kept)


PASSED_OVER: dict[str, Any] = {"use": Use.PASS_OVER, "refusal": "Not from this one."}
BARRED: dict[str, Any] = {"use": Use.BAR, "refusal": "It is another trainer's."}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], Begin()),
        ([state("torn", 10, problem="optimizer.bin is missing")], Begin()),
        ([state("a", 10), state("b", 20)], "b"),
        ([state("a", 10), state("b", 20, **PASSED_OVER)], "a"),
        ([state("b", 20, **PASSED_OVER)], Impossible("Not from this one.")),
        ([state("a", 10), state("b", 20, **BARRED)], Impossible("It is another trainer's.")),
        ([state("a", 10, **BARRED), state("b", 20)], "b"),
        (
            [state("a", None)],
            Impossible("The step of its checkpoint a is unknown; delete that checkpoint to start over."),
        ),
    ],
)
def test_promise_5_a_checkpoint_that_is_not_accepted_is_skipped_or_blocks_the_job(
    found: list[CheckpointFacts], expected: Begin | Impossible | str
) -> None:
    where = choose(reversed(found))
    assert (where.checkpoint.name if isinstance(where, GoOn) else where) == expected


def test_retention_keeps_the_newest_and_counts_only_what_it_may_delete() -> None:
    found = [state("a", 10), state("b", 20), state("c", 30, pruned=False), state("torn", 40, problem="torn")]
    assert [facts.name for facts in outdated(found, keep=1)] == ["a"]
    assert [facts.name for facts in outdated(found, keep=0)] == ["a"]
    assert outdated(found, keep=2) == []


def test_a_checkpoint_that_is_set_aside_gets_a_free_name() -> None:
    assert aside_name("a-state", []) == "a-state.broken-1"
    assert aside_name("a-state", ["a-state.broken-1", "a-state.broken-3"]) == "a-state.broken-2"


@pytest.mark.parametrize(
    ("keep", "needed", "deleted"),
    [
        (0, None, ["c", "b", "a"]),
        (1, None, ["b", "a"]),
        (1, "a", ["b"]),
        (2, "b", ["a"]),
        (3, None, []),
        (9, None, []),
    ],
)
def test_a_request_to_prune_deletes_the_oldest_but_never_the_needed_one(
    keep: int, needed: str | None, deleted: list[str]
) -> None:
    found = [state("b", 20), state("c", 30, pruned=False), state("a", 10)]
    found += [state("torn", 40, problem="optimizer.bin is missing"), state("unknown", None)]
    assert [facts.name for facts in surplus(found, keep=keep, needed=needed)] == deleted
