# SPDX-License-Identifier: Apache-2.0
"""The checkpoints on the disk: complete ones, broken ones with their fault, and nobody else's."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fluxgymd.core.resume import CheckpointFacts, newest
from fluxgymd.store import checkpoints
from tests.store.files import LORA, write_state


def found(folder: Path, name: str = "my-lora") -> dict[str, CheckpointFacts]:
    return {facts.name: facts for facts in checkpoints.scan(folder, name)}


def test_complete_states_are_told_with_step_epoch_and_size(tmp_path: Path) -> None:
    write_state(tmp_path / "my-lora-000004-state", epoch=4, step=40)
    write_state(tmp_path / "my-lora-step00000055-state", epoch=6, step=55)
    write_state(tmp_path / "my-lora-state", epoch=16, step=160)
    facts = found(tmp_path)
    assert {name: (state.epoch, state.step, state.problem) for name, state in facts.items()} == {
        "my-lora-000004-state": (4, 40, None),
        "my-lora-step00000055-state": (6, 55, None),
        "my-lora-state": (16, 160, None),
    }
    state = tmp_path / "my-lora-state"
    assert facts["my-lora-state"].size == sum(file.stat().st_size for file in state.iterdir())
    assert facts["my-lora-state"].created_at == state.stat().st_mtime


def test_a_job_without_a_folder_or_without_states_has_none(tmp_path: Path) -> None:
    assert checkpoints.scan(tmp_path / "nowhere", "my-lora") == []
    assert checkpoints.scan(tmp_path, "my-lora") == []


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl", "train_state.json"]
)
def test_promise_5_a_state_with_a_missing_file_is_not_resumed_from(tmp_path: Path, name: str) -> None:
    (write_state(tmp_path / "my-lora-000004-state") / name).unlink()
    (state,) = checkpoints.scan(tmp_path, "my-lora")
    assert state.problem == f"{name} is missing"
    assert newest([state]) is None


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"])
def test_promise_5_a_state_with_an_empty_file_is_not_resumed_from(tmp_path: Path, name: str) -> None:
    (write_state(tmp_path / "my-lora-000004-state") / name).write_bytes(b"")
    (state,) = checkpoints.scan(tmp_path, "my-lora")
    assert state.problem == f"{name} is empty"
    assert newest([state]) is None


def test_a_torn_model_is_told(tmp_path: Path) -> None:
    (write_state(tmp_path / "my-lora-state") / "model.safetensors").write_bytes(LORA[:-10])
    (state,) = checkpoints.scan(tmp_path, "my-lora")
    assert state.problem == f"model.safetensors has {len(LORA) - 10} bytes, but its header tells of {len(LORA)}"


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\0", b"[]", b"{}", b'{"current_epoch":1,"current_step":"x"}', b'{"\xff":1}', b"[" * 100_000],
)
def test_a_train_state_that_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    (write_state(tmp_path / "my-lora-000004-state") / "train_state.json").write_bytes(content)
    (state,) = checkpoints.scan(tmp_path, "my-lora")
    assert state.problem is not None
    assert state.problem.startswith("train_state.json cannot be read: ")
    assert (state.epoch, state.step) == (4, None)  # the name still tells the epoch


def test_a_state_that_was_being_replaced_is_taken_only_where_no_new_one_is(tmp_path: Path) -> None:
    write_state(tmp_path / "my-lora-000004-state.old", epoch=4, step=40)
    assert {name: state.step for name, state in found(tmp_path).items()} == {"my-lora-000004-state.old": 40}
    assert found(tmp_path)["my-lora-000004-state.old"].epoch == 4
    write_state(tmp_path / "my-lora-000004-state", epoch=4, step=41)
    assert {name: state.step for name, state in found(tmp_path).items()} == {"my-lora-000004-state": 41}


def test_names_of_others_are_not_taken(tmp_path: Path) -> None:
    for name in ("my-lora-2-state", "my-lora-000004", "other-state", "my-lora-000004-state.new", "sample"):
        write_state(tmp_path / name)
    (tmp_path / "my-lora-state").write_text("a file, not a folder")
    assert checkpoints.scan(tmp_path, "my-lora") == []
    assert list(found(tmp_path, "my-lora-2")) == ["my-lora-2-state"]


def test_a_state_that_the_trainer_deletes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    """The trainer keeps the last few states, and the daemon looks at them while it does."""
    pattern = write_state(tmp_path / "pattern")
    folder = tmp_path / "job"
    write_state(folder / "my-lora-000001-state", epoch=1, step=10)
    done = threading.Event()

    def look() -> set[int]:
        seen: set[int] = set()
        while not done.is_set():
            seen.add(len(checkpoints.scan(folder, "my-lora")))
        return seen

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for _ in range(300):
            shutil.copytree(pattern, folder / "my-lora-000002-state")
            shutil.rmtree(folder / "my-lora-000002-state")
        done.set()
        assert looking.result() <= {1, 2}
