# SPDX-License-Identifier: Apache-2.0
"""Tests of finding a job's checkpoints on the disk: complete ones, broken ones with their fault, and no others."""

import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fluxgymd.core.resume import CheckpointFacts, newest
from fluxgymd.store import checkpoints
from fluxgymd.trainers import state_folders
from tests.store.files import LORA, PICKLES, our_state, write_state


def found(folder: Path, name: str = "my-lora") -> dict[str, CheckpointFacts]:
    return {facts.name: facts for facts in state_folders.scan(folder, name)}


def test_complete_states_are_listed_with_step_epoch_and_size(tmp_path: Path) -> None:
    our_state(tmp_path / "my-lora-000004-state", epoch=4, step=40)
    our_state(tmp_path / "my-lora-step00000055-state", epoch=6, step=55)
    our_state(tmp_path / "my-lora-state", epoch=16, step=160)
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
    assert state_folders.scan(tmp_path / "nowhere", "my-lora") == []
    assert state_folders.scan(tmp_path, "my-lora") == []


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl", "train_state.json"]
)
def test_promise_5_a_state_with_a_missing_file_is_not_resumed_from(tmp_path: Path, name: str) -> None:
    (write_state(tmp_path / "my-lora-000004-state") / name).unlink()
    (state,) = state_folders.scan(tmp_path, "my-lora")
    assert state.problem == f"{name} is missing"
    assert newest([state]) is None


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"])
def test_promise_5_a_state_with_an_empty_file_is_not_resumed_from(tmp_path: Path, name: str) -> None:
    (write_state(tmp_path / "my-lora-000004-state") / name).write_bytes(b"")
    (state,) = state_folders.scan(tmp_path, "my-lora")
    assert state.problem == f"{name} is empty"
    assert newest([state]) is None


def test_a_torn_model_is_reported(tmp_path: Path) -> None:
    (write_state(tmp_path / "my-lora-state") / "model.safetensors").write_bytes(LORA[:-10])
    (state,) = state_folders.scan(tmp_path, "my-lora")
    assert state.problem == f"model.safetensors has {len(LORA) - 10} bytes, but its header describes {len(LORA)}"


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\0", b"[]", b"{}", b'{"current_epoch":1,"current_step":"x"}', b'{"\xff":1}', b"[" * 100_000],
)
def test_an_unreadable_train_state_is_reported(tmp_path: Path, content: bytes) -> None:
    (write_state(tmp_path / "my-lora-000004-state") / "train_state.json").write_bytes(content)
    (state,) = state_folders.scan(tmp_path, "my-lora")
    assert state.problem is not None
    assert state.problem.startswith("train_state.json cannot be read: ")
    assert (state.epoch, state.step) == (4, None)  # the epoch is in the name


def test_a_state_that_was_being_replaced_is_taken_only_if_there_is_no_new_one(tmp_path: Path) -> None:
    our_state(tmp_path / "my-lora-000004-state.old", epoch=4, step=40)
    assert {name: state.step for name, state in found(tmp_path).items()} == {"my-lora-000004-state.old": 40}
    assert found(tmp_path)["my-lora-000004-state.old"].epoch == 4
    our_state(tmp_path / "my-lora-000004-state", epoch=4, step=41)
    assert {name: state.step for name, state in found(tmp_path).items()} == {"my-lora-000004-state": 41}


def test_foreign_names_are_not_taken(tmp_path: Path) -> None:
    for name in ("my-lora-2-state", "my-lora-000004", "other-state", "my-lora-000004-state.new", "sample"):
        write_state(tmp_path / name)
    (tmp_path / "my-lora-state").write_text("a file, not a folder")
    assert state_folders.scan(tmp_path, "my-lora") == []
    assert list(found(tmp_path, "my-lora-2")) == ["my-lora-2-state"]


def test_a_state_that_the_trainer_deletes_meanwhile_is_skipped(tmp_path: Path) -> None:
    """The trainer deletes old states while the daemon examines them."""
    pattern = write_state(tmp_path / "pattern")
    folder = tmp_path / "job"
    write_state(folder / "my-lora-000001-state", epoch=1, step=10)
    done = threading.Event()

    def look() -> set[int]:
        seen: set[int] = set()
        while not done.is_set():
            seen.add(len(state_folders.scan(folder, "my-lora")))
        return seen

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for _ in range(300):
            shutil.copytree(pattern, folder / "my-lora-000002-state")
            shutil.rmtree(folder / "my-lora-000002-state")
        done.set()
        assert looking.result() <= {1, 2}


@pytest.mark.parametrize("name", PICKLES)
def test_promise_5_a_state_whose_pickle_is_torn_anywhere_is_not_resumed_from(tmp_path: Path, name: str) -> None:
    state = write_state(tmp_path / "my-lora-000004-state")
    whole = (state / name).read_bytes()
    for length in {*range(1, len(whole), 97), len(whole) - 1}:
        (state / name).write_bytes(whole[:length])
        (facts,) = state_folders.scan(tmp_path, "my-lora")
        assert facts.problem == f"{name} is damaged or was not written by torch.save", length
        assert newest([facts]) is None
    (state / name).write_bytes(whole)
    assert found(tmp_path)["my-lora-000004-state"].complete


# Recorded runs of sd-scripts: 3 epochs of 8 steps, resumed after the first epoch. After the resume, its
# train_state.json says 8 and 16, but the true steps are 16 and 24.
@pytest.mark.parametrize(
    ("name", "epoch", "told", "step"),
    [
        ("my-lora-000001-state", 1, 8, 8),
        ("my-lora-000002-state", 2, 8, 16),
        ("my-lora-state", 3, 16, 24),
        # A first run with states after steps 5, 10, 15 and 20 of 24. Then a run that resumed at step 8: its 5 is 13.
        ("my-lora-step00000005-state", 1, 5, 5),
        ("my-lora-step00000015-state", 2, 15, 15),
        ("my-lora-step00000020-state", 3, 20, 20),
        ("my-lora-step00000005-state", 2, 5, 13),
    ],
)
def test_promise_5_the_true_step_of_a_state_of_sd_scripts(
    *, tmp_path: Path, name: str, epoch: int, told: int, step: int
) -> None:
    write_state(tmp_path / name, epoch=epoch, step=told)
    (known,) = state_folders.scan(tmp_path, "my-lora", steps_per_epoch=8)
    assert (known.pruned, known.epoch, known.step) == (False, epoch, step)
    (unknown,) = state_folders.scan(tmp_path, "my-lora")
    assert (unknown.epoch, unknown.step) == (epoch, None)


def test_our_trainers_own_counter_is_kept(tmp_path: Path) -> None:
    our_state(tmp_path / "my-lora-step00000013-state", epoch=2, step=13)
    (state,) = state_folders.scan(tmp_path, "my-lora", steps_per_epoch=5)
    assert (state.pruned, state.epoch, state.step) == (True, 2, 13)


def test_a_quarantined_state_keeps_its_files_and_is_listed(tmp_path: Path) -> None:
    for number in (1, 2):
        state = write_state(tmp_path / "my-lora-000004-state")
        (state / "optimizer.bin").unlink()
        assert checkpoints.set_aside(state) == f"my-lora-000004-state.broken-{number}"
    aside = found(tmp_path)
    assert sorted(aside) == ["my-lora-000004-state.broken-1", "my-lora-000004-state.broken-2"]
    for facts in aside.values():
        assert (facts.set_aside, facts.problem, facts.epoch) == (True, "optimizer.bin is missing", 4)
        assert len(list((tmp_path / facts.name).iterdir())) == 4


def test_a_quarantined_state_is_not_taken_again_automatically(tmp_path: Path) -> None:
    write_state(tmp_path / "my-lora-000004-state.broken-1")
    (facts,) = state_folders.scan(tmp_path, "my-lora")
    assert facts.problem is not None
    assert "rename it" in facts.problem
    assert newest([facts]) is None


def test_unfinished_states_of_our_trainer_are_found_by_name(tmp_path: Path) -> None:
    for name in ("my-lora-000004-state.tmp", "my-lora-state.tmp", "my-lora.safetensors.tmp", "other-state.tmp"):
        write_state(tmp_path / name)
    assert [path.name for path in state_folders.unfinished(tmp_path, "my-lora")] == [
        "my-lora-000004-state.tmp",
        "my-lora-state.tmp",
    ]
    checkpoints.delete(tmp_path / "my-lora-state.tmp")
    checkpoints.delete(our_state(tmp_path / "my-lora-state"))
    assert not list(tmp_path.glob("my-lora-state*"))


def test_nothing_in_a_state_is_unpickled_and_a_huge_train_state_is_not_read_in_full(tmp_path: Path) -> None:
    """A pickle that would create a file if it were loaded counts as complete: only the trainer reads its content."""
    made = tmp_path / "made"
    evil = f"cposix\nsystem\n(S'touch {made}'\ntR.".encode()
    state = our_state(tmp_path / "my-lora-000004-state")
    with zipfile.ZipFile(state / "optimizer.bin", "w") as archive:
        archive.writestr("archive/data.pkl", evil)
    assert found(tmp_path)["my-lora-000004-state"].complete
    assert not made.exists()
    with (state / "train_state.json").open("r+b") as file:
        file.truncate(1 << 40)
    assert found(tmp_path)["my-lora-000004-state"].problem == (
        f"train_state.json cannot be read: it has {1 << 40} bytes, and the limit is {1 << 20}"
    )
