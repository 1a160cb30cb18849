# SPDX-License-Identifier: Apache-2.0
"""Tests of both trainers' states: their names, which of them a job resumes from, and which ones retention deletes."""

import random
from collections.abc import Callable

import pytest

from fluxgymd.core.resume import Begin, CheckpointFacts, GoOn, Impossible, choose, outdated
from fluxgymd.trainers import states
from fluxgymd.trainers.states import StateWriter, epoch_in_name, is_final, is_state_folder

EPOCHS = 16
Found = Callable[[StateWriter], CheckpointFacts]
"""Returns the facts of a state for the trainer that would run."""


def state(
    name: str,
    step: int | None,
    *,
    epoch: int | None = None,
    writer: StateWriter = StateWriter.OURS,
    problem: str | None = None,
) -> Found:
    def seen_by(reader: StateWriter) -> CheckpointFacts:
        use, refusal = states.use(name, writer=writer, reader=reader, epochs=EPOCHS)
        return CheckpointFacts(
            name=name,
            epoch=epoch,
            step=step,
            problem=problem,
            size=1,
            created_at=0.0,
            use=use,
            refusal=refusal,
            pruned=states.is_pruned(name, writer=writer, reader=reader),
        )

    return seen_by


def ours(*names: str) -> list[Found]:
    """States of our trainer, 10 steps per epoch: `4` after epoch 4, `s45` after step 45, `end` after epoch 16."""
    return [_named(name, StateWriter.OURS) for name in names]


def theirs(*names: str) -> list[Found]:
    """The same for sd-scripts."""
    return [_named(name, StateWriter.SD_SCRIPTS) for name in names]


def _named(name: str, writer: StateWriter) -> Found:
    if name == "end":
        return state("my-lora-state", 160, epoch=16, writer=writer)
    if name.startswith("s"):
        step = int(name[1:])
        return state(f"my-lora-step{step:08d}-state", step, epoch=-(-step // 10), writer=writer)
    return state(f"my-lora-{int(name):06d}-state", int(name) * 10, epoch=int(name), writer=writer)


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
        # A state that our trainer was replacing, and one that was set aside.
        ("my-lora-000004-state.old", "my-lora", True),
        ("my-lora-state.broken-12", "my-lora", True),
        ("my-lora-000004-state.old.broken-1", "my-lora", True),
        ("my-lora-000004-state.tmp", "my-lora", False),
        ("my-lora-000004-state.broken-", "my-lora", False),
        ("other-state", "my-lora", False),
        ("state", "my-lora", False),
        # A name is not a pattern.
        ("a.b-state", "a.b", True),
        ("axb-state", "a.b", False),
    ],
)
def test_states_are_known_by_the_names_of_sd_scripts(*, folder: str, output_name: str, own: bool) -> None:
    assert is_state_folder(folder, output_name) is own


@pytest.mark.parametrize(
    ("found", "trainer", "expected"),
    [
        ([], StateWriter.OURS, Begin()),
        ([state("my-lora-000004-state", 40, epoch=4, problem="torn")], StateWriter.OURS, Begin()),
        (ours("4", "8", "s85"), StateWriter.OURS, "my-lora-step00000085-state"),
        (ours("4", "8", "s75"), StateWriter.OURS, "my-lora-000008-state"),
        # After a kill between the last state and the final LoRA, our trainer only writes the LoRA.
        (ours("12", "end"), StateWriter.OURS, "my-lora-state"),
        # sd-scripts resumes only from the end of an epoch, and never from a finished state.
        (theirs("4", "8"), StateWriter.SD_SCRIPTS, "my-lora-000008-state"),
        (theirs("4", "8", "s85"), StateWriter.SD_SCRIPTS, "my-lora-000008-state"),
        (theirs("8", "12", "end"), StateWriter.SD_SCRIPTS, "my-lora-000012-state"),
        # Our trainer also resumes from sd-scripts' states at the ends of epochs, the last one included.
        (theirs("4", "8", "s85"), StateWriter.OURS, "my-lora-000008-state"),
        (theirs("16"), StateWriter.OURS, "my-lora-000016-state"),
        ([*theirs("4", "8"), *ours("s85")], StateWriter.OURS, "my-lora-step00000085-state"),
        ([*theirs("4", "s95"), *ours("s85")], StateWriter.OURS, "my-lora-step00000085-state"),
        # The counter of sd-scripts restarts at each resume, so it can be lower at epoch 8 than at epoch 4.
        (
            [
                state("my-lora-000004-state", None, epoch=4, writer=StateWriter.SD_SCRIPTS),
                state("my-lora-000008-state", None, epoch=8, writer=StateWriter.SD_SCRIPTS),
            ],
            StateWriter.SD_SCRIPTS,
            "my-lora-000008-state",
        ),
    ],
)
def test_promise_5_where_a_job_continues(found: list[Found], trainer: StateWriter, expected: Begin | str) -> None:
    random.Random(1).shuffle(found)
    where = choose(each(trainer) for each in found)
    assert (where.checkpoint.name if isinstance(where, GoOn) else where) == expected


@pytest.mark.parametrize(
    ("found", "trainer", "words"),
    [
        (
            theirs("s45"),
            StateWriter.OURS,
            "FluxGym's trainer accepts only those from the end of an epoch of 16",
        ),
        (theirs("17"), StateWriter.OURS, "set more epochs"),
        (ours("4"), StateWriter.SD_SCRIPTS, "was written by FluxGym's trainer, but sd-scripts would run now"),
        (theirs("end"), StateWriter.SD_SCRIPTS, "It cannot resume from my-lora-state"),
        (theirs("s45"), StateWriter.SD_SCRIPTS, "It cannot resume from my-lora-step00000045-state"),
        (theirs("16"), StateWriter.SD_SCRIPTS, "accepts only those from the end of an epoch before the last of 16"),
        ([state("my-lora-state", None)], StateWriter.OURS, "The step of its checkpoint my-lora-state is unknown"),
    ],
)
def test_promise_5_a_job_with_a_checkpoint_never_silently_starts_over(
    found: list[Found], trainer: StateWriter, words: str
) -> None:
    where = choose(each(trainer) for each in found)
    assert isinstance(where, Impossible)
    assert words in where.sentence


@pytest.mark.parametrize(
    ("found", "trainer", "keep", "goes"),
    [
        (ours("4", "8", "12", "end"), StateWriter.OURS, 3, {"my-lora-000004-state"}),
        (ours("4", "s45", "s55", "s65"), StateWriter.OURS, 3, {"my-lora-000004-state"}),
        (ours("4", "8"), StateWriter.OURS, 3, set()),
        # The last state is kept, whatever the job asks for.
        (ours("4"), StateWriter.OURS, 0, set()),
        (ours("4", "8"), StateWriter.OURS, 1, {"my-lora-000004-state"}),
        # A broken state neither counts nor is deleted.
        (
            [*ours("4", "8"), state("my-lora-000012-state", 120, epoch=12, problem="torn")],
            StateWriter.OURS,
            1,
            {"my-lora-000004-state"},
        ),
        ([*ours("4"), state("my-lora-000012-state", 120, epoch=12, problem="torn")], StateWriter.OURS, 1, set()),
        # The newer states are of no use to this trainer, so they do not count.
        ([*ours("4"), *theirs("8", "12")], StateWriter.OURS, 1, set()),
        # sd-scripts can resume only from the ends of epochs, so its other states must not displace those.
        (theirs("4", "8", "s91", "s92", "end"), StateWriter.SD_SCRIPTS, 1, {"my-lora-000004-state"}),
        (theirs("4", "s45", "s55", "s65", "end"), StateWriter.SD_SCRIPTS, 1, set()),
    ],
)
def test_promise_5_retention_keeps_the_newest_and_always_one(
    *, found: list[Found], trainer: StateWriter, keep: int, goes: set[str]
) -> None:
    random.Random(2).shuffle(found)
    assert {checkpoint.name for checkpoint in outdated([each(trainer) for each in found], keep=keep)} == goes


def test_promise_5_the_state_that_a_job_continues_from_is_never_outdated() -> None:
    """In many random sets of states, the state that a job would resume from is kept."""
    draw = random.Random(3)
    names = ["4", "8", "12", "end", "s5", "s45", "s85", "s125"]
    for _ in range(2000):
        found = ours(*draw.sample(names, draw.randint(0, 4))) + theirs(*draw.sample(names, draw.randint(0, 4)))
        trainer = draw.choice(list(StateWriter))
        where = choose(each(trainer) for each in found)
        goes = outdated([each(trainer) for each in found], keep=draw.randint(0, 3))
        if isinstance(where, GoOn):
            assert where.checkpoint not in goes


def test_the_epoch_of_a_name() -> None:
    assert epoch_in_name("my-lora-000004-state") == 4
    assert epoch_in_name("my-lora-000004-state.old") == 4
    assert epoch_in_name("my-lora-step00000004-state") is None
    assert epoch_in_name("my-000009-state-state") is None


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
def test_the_final_state_is_recognized(name: str, last: bool) -> None:
    assert is_final(name) is last


@pytest.mark.parametrize(
    ("name", "epoch", "expected"),
    [
        ("cat-000008-state", 8, "dog.1-000008-state"),
        ("cat-000008-state.old", 8, "dog.1-000008-state"),
        ("cat-step00000040-state", 3, "dog.1-step00000040-state"),
        # After the last step; in the other job, more may follow.
        ("cat-state", 16, "dog.1-000016-state"),
        ("cat-state.old", 16, "dog.1-000016-state"),
        ("cat-state", None, "dog.1-state"),
    ],
)
def test_a_state_of_another_job_gets_a_name_of_this_one(name: str, epoch: int | None, expected: str) -> None:
    assert states.renamed(name, "cat", "dog.1", epoch=epoch) == expected
    assert is_state_folder(expected, "dog.1")
