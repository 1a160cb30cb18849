# SPDX-License-Identifier: Apache-2.0
"""Where a job goes on: by the steps done, only from what is complete, only from folders of its own."""

import pytest

from fluxgymd.core.resume import CheckpointFacts, is_state_folder, newest


def state(name: str, step: int | None, *, problem: str | None = None, created_at: float = 0.0) -> CheckpointFacts:
    return CheckpointFacts(name=name, epoch=None, step=step, problem=problem, size=1, created_at=created_at)


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
        ("other-state", "my-lora", False),
        ("state", "my-lora", False),
        # A name is text, not a pattern.
        ("a.b-state", "a.b", True),
        ("axb-state", "a.b", False),
    ],
)
def test_states_are_known_by_the_names_of_sd_scripts(*, folder: str, output_name: str, own: bool) -> None:
    assert is_state_folder(folder, output_name) is own
