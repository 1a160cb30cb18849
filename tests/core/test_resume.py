# SPDX-License-Identifier: Apache-2.0
"""Where a job goes on: by epoch and step, only from what is complete, only from folders of its own."""

import random
from typing import Any

import pytest

from fluxgymd.core.resume import (
    Begin,
    CheckpointFacts,
    GoOn,
    Impossible,
    Trainer,
    aside_name,
    choose,
    epoch_in_name,
    is_last,
    is_state_folder,
    newest,
    outdated,
)


def state(name: str, step: int | None, *, epoch: int | None = None, **changes: Any) -> CheckpointFacts:
    values: dict[str, Any] = {"problem": None, "size": 1, "created_at": 0.0} | changes
    return CheckpointFacts(name=name, epoch=epoch, step=step, **values)


def ours(*names: str) -> list[CheckpointFacts]:
    """States of our trainer, 10 steps an epoch: `4` after epoch 4, `s45` after step 45, `end` after epoch 16."""
    return [_named(name, Trainer.OURS) for name in names]


def theirs(*names: str) -> list[CheckpointFacts]:
    """The same of sd-scripts."""
    return [_named(name, Trainer.SD_SCRIPTS) for name in names]


def _named(name: str, trainer: Trainer) -> CheckpointFacts:
    if name == "end":
        return state("my-lora-state", 160, epoch=16, trainer=trainer)
    if name.startswith("s"):
        step = int(name[1:])
        return state(f"my-lora-step{step:08d}-state", step, epoch=-(-step // 10), trainer=trainer)
    return state(f"my-lora-{int(name):06d}-state", int(name) * 10, epoch=int(name), trainer=trainer)


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ([], None),
        ([state("a", 10)], "a"),
        ([state("a", 10), state("b", 20), state("c", 15)], "b"),
        # The time of a copied or touched folder says nothing.
        ([state("old", 20, created_at=1.0), state("new", 10, created_at=9.0)], "old"),
        ([state("a", 10), state("torn", 20, problem="optimizer.bin is missing")], "a"),
        ([state("torn", 20, problem="train_state.json is missing")], None),
        ([state("unknown", None)], None),
        ([state("zero", 0)], "zero"),
        # sd-scripts writes both at the end: the final one, whatever the order they were found in.
        ([state("my-lora-state", 20), state("my-lora-000004-state", 20)], "my-lora-state"),
        ([state("my-lora-000004-state", 20), state("my-lora-state", 20)], "my-lora-state"),
    ],
)
def test_promise_5_the_newest_complete_checkpoint_is_taken(found: list[CheckpointFacts], name: str | None) -> None:
    best = newest(found)
    assert (best.name if best else None) == name


@pytest.mark.parametrize(
    ("folder", "output_name", "own"),
    [
        ("my-lora-state", "my-lora", True),
        ("my-lora-000004-state", "my-lora", True),
        ("my-lora-step00000400-state", "my-lora", True),
        ("my-lora-2-state", "my-lora-2", True),
        ("my-lora-2-state", "my-lora", False),
        ("my-lora-2-000004-state", "my-lora", False),
        ("my-lora-0004-state", "my-lora", False),
        ("my-lora-step400-state", "my-lora", False),
        ("my-lora-000004-state-backup", "my-lora", False),
        ("my-lora-000004-state\n", "my-lora", False),
        ("my-lora-000004", "my-lora", False),
        # What our trainer was replacing, and what was set aside.
        ("my-lora-000004-state.old", "my-lora", True),
        ("my-lora-state.broken-12", "my-lora", True),
        ("my-lora-000004-state.old.broken-1", "my-lora", True),
        ("my-lora-000004-state.tmp", "my-lora", False),
        ("my-lora-000004-state.broken-", "my-lora", False),
        ("other-state", "my-lora", False),
        ("state", "my-lora", False),
        # A name is text, not a pattern.
        ("a.b-state", "a.b", True),
        ("axb-state", "a.b", False),
    ],
)
def test_states_are_known_by_the_names_of_sd_scripts(*, folder: str, output_name: str, own: bool) -> None:
    assert is_state_folder(folder, output_name) is own


@pytest.mark.parametrize(
    ("found", "trainer", "expected"),
    [
        ([], Trainer.OURS, Begin()),
        ([state("my-lora-000004-state", 40, epoch=4, problem="torn")], Trainer.OURS, Begin()),
        (ours("4", "8", "s85"), Trainer.OURS, "my-lora-step00000085-state"),
        (ours("4", "8", "s75"), Trainer.OURS, "my-lora-000008-state"),
        # A kill between the last state and the final LoRA: ours only writes that.
        (ours("12", "end"), Trainer.OURS, "my-lora-state"),
        # sd-scripts: from the end of an epoch only, and never from a finished state.
        (theirs("4", "8"), Trainer.SD_SCRIPTS, "my-lora-000008-state"),
        (theirs("4", "8", "s85"), Trainer.SD_SCRIPTS, "my-lora-000008-state"),
        (theirs("8", "12", "end"), Trainer.SD_SCRIPTS, "my-lora-000012-state"),
        # Ours goes on from those too, where their names say how far they are, and from the last one.
        (theirs("4", "8", "s85"), Trainer.OURS, "my-lora-000008-state"),
        (theirs("16"), Trainer.OURS, "my-lora-000016-state"),
        ([*theirs("4", "8"), *ours("s85")], Trainer.OURS, "my-lora-step00000085-state"),
        ([*theirs("4", "s95"), *ours("s85")], Trainer.OURS, "my-lora-step00000085-state"),
        # Its counter restarts at each resume: after one, epoch 8 has fewer steps than epoch 4 (trainers.md 1.5).
        (
            [
                state("my-lora-000004-state", None, epoch=4, trainer=Trainer.SD_SCRIPTS),
                state("my-lora-000008-state", None, epoch=8, trainer=Trainer.SD_SCRIPTS),
            ],
            Trainer.SD_SCRIPTS,
            "my-lora-000008-state",
        ),
    ],
)
def test_promise_5_where_a_job_goes_on(found: list[CheckpointFacts], trainer: Trainer, expected: Begin | str) -> None:
    random.Random(1).shuffle(found)
    where = choose(found, trainer=trainer, epochs=16)
    assert (where.checkpoint.name if isinstance(where, GoOn) else where) == expected


@pytest.mark.parametrize(
    ("found", "trainer", "words"),
    [
        (
            theirs("s45"),
            Trainer.OURS,
            "FluxGym's trainer takes states of the end of an epoch of 16",
        ),
        (theirs("17"), Trainer.OURS, "ask for more epochs"),
        (ours("4"), Trainer.SD_SCRIPTS, "was made by FluxGym's trainer, and sd-scripts would run now"),
        (theirs("end"), Trainer.SD_SCRIPTS, "It cannot go on from my-lora-state"),
        (theirs("s45"), Trainer.SD_SCRIPTS, "It cannot go on from my-lora-step00000045-state"),
        (theirs("16"), Trainer.SD_SCRIPTS, "takes states of the end of an epoch before the last of 16"),
        ([state("my-lora-state", None)], Trainer.OURS, "The step of its checkpoint my-lora-state is not known"),
    ],
)
def test_promise_5_a_job_with_a_checkpoint_never_begins_anew_in_silence(
    found: list[CheckpointFacts], trainer: Trainer, words: str
) -> None:
    where = choose(found, trainer=trainer, epochs=16)
    assert isinstance(where, Impossible)
    assert words in where.sentence


@pytest.mark.parametrize(
    ("found", "trainer", "keep", "goes"),
    [
        (ours("4", "8", "12", "end"), Trainer.OURS, 3, {"my-lora-000004-state"}),
        (ours("4", "s45", "s55", "s65"), Trainer.OURS, 3, {"my-lora-000004-state"}),
        (ours("4", "8"), Trainer.OURS, 3, set()),
        # Never the last one, whatever is asked for.
        (ours("4"), Trainer.OURS, 0, set()),
        (ours("4", "8"), Trainer.OURS, 1, {"my-lora-000004-state"}),
        # A broken one is no copy of anything: it neither counts nor goes.
        (
            [*ours("4", "8"), state("my-lora-000012-state", 120, epoch=12, problem="torn")],
            Trainer.OURS,
            1,
            {"my-lora-000004-state"},
        ),
        ([*ours("4"), state("my-lora-000012-state", 120, epoch=12, problem="torn")], Trainer.OURS, 1, set()),
        # What this trainer cannot go on from, whatever it is for.
        ([*ours("4"), *theirs("8", "12")], Trainer.OURS, 1, set()),
        # The ends of epochs are all that sd-scripts can go on from: its other states must not push them out.
        (theirs("4", "8", "s91", "s92", "end"), Trainer.SD_SCRIPTS, 1, {"my-lora-000004-state"}),
        (theirs("4", "s45", "s55", "s65", "end"), Trainer.SD_SCRIPTS, 1, set()),
    ],
)
def test_promise_5_retention_keeps_the_newest_and_always_one(
    *, found: list[CheckpointFacts], trainer: Trainer, keep: int, goes: set[str]
) -> None:
    random.Random(2).shuffle(found)
    assert {checkpoint.name for checkpoint in outdated(found, trainer=trainer, keep=keep)} == goes


def test_promise_5_what_a_job_goes_on_from_is_never_outdated() -> None:
    """Over many mixtures of states: whatever is chosen is kept."""
    draw = random.Random(3)
    names = ["4", "8", "12", "end", "s5", "s45", "s85", "s125"]
    for _ in range(2000):
        found = ours(*draw.sample(names, draw.randint(0, 4))) + theirs(*draw.sample(names, draw.randint(0, 4)))
        trainer = draw.choice(list(Trainer))
        where = choose(found, trainer=trainer, epochs=16)
        goes = outdated(found, trainer=trainer, keep=draw.randint(0, 3))
        if isinstance(where, GoOn):
            assert where.checkpoint not in goes


def test_the_epoch_of_a_name_and_a_free_name() -> None:
    assert epoch_in_name("my-lora-000004-state") == 4
    assert epoch_in_name("my-lora-000004-state.old") == 4
    assert epoch_in_name("my-lora-step00000004-state") is None
    assert epoch_in_name("my-000009-state-state") is None
    assert aside_name("a-state", []) == "a-state.broken-1"
    assert aside_name("a-state", ["a-state.broken-1", "a-state.broken-3"]) == "a-state.broken-2"


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("my-lora-state", True),
        ("my-lora-state.old", True),
        ("my-000009-state-state", True),
        ("my-lora-000004-state", False),
        ("my-lora-000004-state.old", False),
        ("my-lora-step00000004-state", False),
        ("", False),
    ],
)
def test_which_state_is_that_of_the_end(name: str, last: bool) -> None:
    assert is_last(name) is last
