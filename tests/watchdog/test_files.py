# SPDX-License-Identifier: Apache-2.0
"""Tests of what a job's files show: counters that grow with its work, whatever is renamed or deleted meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from fluxgym.protocol.messages import Context, Kind, Phase
from fluxgymd.core.job import Live, fold
from fluxgymd.store.home import JobFolder
from fluxgymd.watchdog.files import Files, Seen, Written, count_caches, outputs
from tests.core import histories as h
from tests.daemon.running import ROOT
from tests.trainers.adapters import NOWHERE, trainers

NAMED = {"log": "training.log", "metrics": "metrics.jsonl"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("dataset", "attempts/001", "sample"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("training.log", "metrics.jsonl", "events.jsonl", "attempts/001/exit.json", "dataset/1.png"):
        (tmp_path / name).write_bytes(bytes(1000))
    return tmp_path


class Writing:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.written = Written()

    def grown(self) -> int:
        return self.written.bytes_after(outputs(self.home))

    def write(self, name: str, size: int) -> Path:
        path = self.home / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        return path


def test_the_files_of_the_job_itself_are_not_output(home: Path) -> None:
    assert Writing(home).grown() == 0


def test_loras_states_and_samples_are_output_even_while_incomplete(home: Path) -> None:
    writing = Writing(home)
    writing.write("x-000001.safetensors.tmp", 100)
    assert writing.grown() == 100
    writing.write("x-000001-state.tmp/optimizer.bin", 40)
    assert writing.grown() == 140
    writing.write("sample/x.png", 2)
    assert writing.grown() == 142


def test_a_growing_file_counts_by_its_growth(home: Path) -> None:
    writing = Writing(home)
    for size in (10, 10, 25, 1000):
        writing.write("x.safetensors", size)
        assert writing.grown() == size


def test_a_file_that_gets_its_final_name_is_not_counted_twice(home: Path) -> None:
    writing = Writing(home)
    half = writing.write("x-state.tmp/model.safetensors", 100)
    lora = writing.write("x.safetensors.tmp", 7)
    writing.grown()
    half.parent.rename(home / "x-state")
    lora.rename(home / "x.safetensors")
    assert writing.grown() == 107


def test_a_deleted_or_replaced_file_takes_nothing_back(home: Path) -> None:
    writing = Writing(home)
    old = writing.write("x-000001.safetensors", 100)
    writing.grown()
    old.unlink()
    assert writing.grown() == 100
    writing.write("x-000002.safetensors", 30)
    assert writing.grown() == 130
    writing.write("new", 20).rename(home / "x-000002.safetensors")  # replaces the file with a shorter one
    assert writing.grown() == 150
    os.truncate(home / "x-000002.safetensors", 5)
    assert writing.grown() == 155


def test_caches_are_counted_by_their_names(home: Path) -> None:
    dataset = home / "dataset"
    assert count_caches(JobFolder(home)) == 0
    for name in ("1_0128x0128_flux.npz", "1_flux_te.npz", "2_flux_te.npz.tmp", "1.txt"):
        (dataset / name).touch()
    assert count_caches(JobFolder(home)) == 2
    (dataset / "1").mkdir()  # the folder of a part
    (dataset / "1" / "1_flux_te.npz").touch()
    assert count_caches(JobFolder(home)) == 3


def test_promise_7_an_invisible_dataset_is_unknown_and_its_old_caches_are_not_work(home: Path) -> None:
    (home / "dataset" / "1_flux_te.npz").touch()
    assert count_caches(JobFolder(home)) == 1
    (home / "dataset").rename(home / "elsewhere")
    assert count_caches(JobFolder(home)) is None
    (home / "dataset").touch()
    assert count_caches(JobFolder(home)) is None


def phase_of(home: Path, kind: Kind, trainer: Path = NOWHERE) -> Phase | None:
    state = fold(h.WAYS["running"]).state
    assert isinstance(state, Live)
    adapter = trainers(trainer).of(Context(name="my-lora", kind=kind))
    return Files(JobFolder(home), state.attempt, adapter).look().phase


def test_promise_7_a_trainer_that_has_reported_nothing_since_its_start_is_starting(
    home: Path, tmp_path: Path
) -> None:
    """A trainer that hangs before it reports anything is judged by the limits of the starting phase."""
    for name in ("sd-scripts/train_network.py", "another/flux_train_network.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    for name in ("training.log", "metrics.jsonl"):
        (home / name).write_bytes(b"")
    assert phase_of(home, Kind.TRAINING, ROOT / "sd-scripts") is Phase.STARTING
    assert phase_of(home, Kind.TRAINING, tmp_path / "sd-scripts") is Phase.STARTING
    assert phase_of(home, Kind.TRAINING, tmp_path / "another") is None, "it may tell its progress in words of its own"
    assert phase_of(home, Kind.PROGRAM) is None
    (home / "training.log").write_text("caching latents...\n")
    assert phase_of(home, Kind.TRAINING, tmp_path / "sd-scripts") is Phase.CACHING


def test_promise_7_unreliable_progress_is_unknown_and_the_look_says_why(home: Path) -> None:
    """It is neither "no step" nor "starting", since the trainer continues to write to the file that was moved."""
    state = fold(h.WAYS["running"]).state
    assert isinstance(state, Live)
    for name in ("training.log", "metrics.jsonl"):
        (home / name).write_bytes(b"")
    inodes = {f"{name}_inode": (home / file).stat().st_ino for name, file in NAMED.items()}
    attempt = msgspec.structs.replace(state.attempt, **inodes)
    folder = JobFolder(home)

    def look() -> Seen:
        return Files(folder, attempt, trainers(ROOT / "sd-scripts").of(Context(name="my-lora"))).look()

    assert (look().told, look().phase) == (True, Phase.STARTING)
    (home / "metrics.jsonl").rename(home / "metrics.jsonl.1")
    assert (look().told, look().phase, look().untold_why) == (False, None, "metrics.jsonl is missing")
    (home / "metrics.jsonl").touch()
    assert look().untold_why == "metrics.jsonl was replaced by another file"
    (home / "metrics.jsonl.1").rename(home / "metrics.jsonl")
    (home / "training.log").rename(home / "training.log.1")
    (home / "training.log").write_text("another program's")
    seen = look()
    assert (seen.told, seen.untold_why) == (False, "training.log was replaced by another file")
    assert seen.log_bytes == 0, "it is not the log that the trainer prints into"
    with (home / "metrics.jsonl").open("a") as file:
        file.write('{"time":1,"phase":"training","step":1,"totalSteps":2}\n')
    assert (look().told, look().step) == (True, 1), "a trainer that reports its progress is not read from its log"
