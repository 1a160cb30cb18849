# SPDX-License-Identifier: Apache-2.0
"""Tests of how a training ended, as concluded from its files: each combination, with the reason that is shown."""

import pytest

from fluxgymd.core.resume import CheckpointFacts
from fluxgymd.importing.conclusion import Lora, TrainingFiles, conclude, unfinished_business

STARTED = 1000.0


def state(epoch: int, problem: str | None = None) -> CheckpointFacts:
    return CheckpointFacts(
        name=f"x-{epoch:06d}-state",
        epoch=epoch,
        step=None,
        problem=problem,
        size=1,
        created_at=0.0,
    )


WHOLE = Lora(name="x.safetensors", started_at=STARTED + 20, finished_at=STARTED + 900)
TORN = Lora(name="x.safetensors", problem="x.safetensors has 5 bytes, but its header describes 9")
OLD = Lora(name="x.safetensors", started_at=STARTED - 9000, finished_at=STARTED - 8000)
UNDATED = Lora(name="x.safetensors")
EPOCH_4 = Lora(name="x-000004.safetensors", started_at=STARTED + 20, finished_at=STARTED + 300)
EPOCH_8 = Lora(name="x-000008.safetensors", started_at=STARTED + 20, finished_at=STARTED + 600)
TORN_12 = Lora(name="x-000012.safetensors", problem="torn")
BROKEN = state(8, "random_states_0.pkl is missing")
NO_FILE = "Training did not produce model file"
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"


@pytest.mark.parametrize(
    ("left", "outcome", "reason"),
    [
        (TrainingFiles(final=WHOLE), "completed", "Its final file x.safetensors is complete."),
        (TrainingFiles(final=UNDATED, asked_at=STARTED), "completed", "Its final file x.safetensors is complete."),
        (
            TrainingFiles(final=WHOLE, others=(EPOCH_4,), asked_at=STARTED),
            "completed",
            "Its final file x.safetensors is complete.",
        ),
        (
            TrainingFiles(
                final=WHOLE, asked_at=STARTED, status="failed", error=NO_FILE
            ),  # ui_state.json was written before the final file
            "completed",
            (
                "Its final file x.safetensors is complete. "
                "ui_state.json says that it failed: Training did not produce "
                "model file."
            ),
        ),
        (
            TrainingFiles(final=OLD, asked_at=STARTED, status="completed"),
            "failed",
            "The final file x.safetensors is from an earlier training. It left neither a complete file nor a state.",
        ),
        (
            TrainingFiles(final=OLD, others=(EPOCH_4,)),  # the original has no form
            "stopped",
            (
                "The final file x.safetensors is from an earlier training than x-000004.safetensors. "
                "Its newest file is x-000004.safetensors."
            ),
        ),
        (
            TrainingFiles(final=TORN, states=(state(4), state(12))),
            "stopped",
            (
                "Its final file is damaged: x.safetensors has 5 bytes, but its header describes 9. "
                "Its newest complete state is x-000012-state."
            ),
        ),
        (
            TrainingFiles(others=(EPOCH_8, EPOCH_4, TORN_12), status="starting"),
            "stopped",
            "It has no final file. Its newest file is x-000008.safetensors.",
        ),
        (
            TrainingFiles(others=(EPOCH_8,), states=(BROKEN,)),
            "stopped",
            "It has no final file. Its newest file is x-000008.safetensors.",
        ),
        (
            TrainingFiles(states=(state(8),), status="completed"),  # the user has moved the final file
            "stopped",
            (
                "It has no final file although ui_state.json says that it completed. "
                "Its newest complete state is x-000008-state."
            ),
        ),
        (
            TrainingFiles(states=(state(8),), status="failed", error=NO_FILE),
            "failed",
            (
                "ui_state.json says that it failed: Training did not produce model file. It has no final file. "
                "Its newest complete state is x-000008-state."
            ),
        ),
        (
            TrainingFiles(status="failed", error="two\nlines."),
            "failed",
            "ui_state.json says that it failed: two lines. It has no final file.",
        ),
        (TrainingFiles(), "failed", "It has no final file. It left neither a complete file nor a state."),
        (
            TrainingFiles(others=(TORN_12,)),
            "failed",
            "It has no final file. It left neither a complete file nor a state.",
        ),
    ],
)
def test_an_imported_training_has_a_state_and_a_reason(left: TrainingFiles, outcome: str, reason: str) -> None:
    said = conclude(left)
    assert (said.outcome, said.reason) == (outcome, reason)


def test_the_kind_of_a_failure_follows_from_its_output_alone() -> None:
    assert conclude(TrainingFiles(log=OOM, status="failed", error=NO_FILE)).failure == "gpu_out_of_memory"
    assert conclude(TrainingFiles(status="failed", error=NO_FILE)).failure == "other"
    assert conclude(TrainingFiles(final=WHOLE, log=OOM)).failure is None


@pytest.mark.parametrize(
    ("left", "why"),
    [
        (TrainingFiles(), None),
        (TrainingFiles(others=(TORN_12,)), None),
        (TrainingFiles(final=WHOLE, others=(EPOCH_4,)), None),
        (TrainingFiles(others=(EPOCH_4,), states=(state(4), BROKEN)), None),
        (TrainingFiles(others=(EPOCH_4,)), "it saved no state, so it could only start over"),
        (TrainingFiles(went_on_from="/else/y-state"), "it resumed from /else/y-state and saved no state of its own"),
        (TrainingFiles(went_on_from="/else/y-state", states=(state(4),)), None),
        (TrainingFiles(went_on_from="/else/y-state", final=WHOLE), None),
        (
            TrainingFiles(states=(BROKEN,)),
            "none of its states is complete (x-000008-state: random_states_0.pkl is missing)",
        ),
    ],
)
def test_a_training_is_not_silently_started_over(left: TrainingFiles, why: str | None) -> None:
    assert unfinished_business(left) == why
