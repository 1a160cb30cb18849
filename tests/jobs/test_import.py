# SPDX-License-Identifier: Apache-2.0
"""What the registry makes of folders without a journal: older trainings are shown as jobs, and hide nothing else."""

import shutil
from pathlib import Path

import pytest

from fluxgym.protocol.messages import State
from fluxgymd.jobs import view
from tests.core import histories as h
from tests.data.older import make
from tests.jobs.journals import encoded, load, put


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shutil.copytree(make.HERE / "fork", tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_older_trainings_are_listed_among_the_jobs_by_age(home: Path) -> None:
    put(home, "my-lora", encoded("my-lora", h.WAYS["running"]))
    registry = load(home)
    names = [entry.name for entry in registry.newest()]
    assert names[-1] == "my-lora"  # it dates from 1970
    assert {"stopped", "failed", "resumed"} < set(names)
    assert registry.counts[State.STOPPED] == 4
    assert [entry.name for entry in registry.open()] == ["my-lora"]
    shown = view.show(registry.entry("failed")).runtime
    assert (shown.state, shown.submitted_at) == (State.FAILED, make.STARTED)
    assert shown.failure is not None
    assert shown.failure.kind == "gpu_out_of_memory"
    assert shown.reason == (
        "ui_state.json says that it failed: Training did not produce model file. It has no final file."
    )
    registry.writer.close()


def test_promise_8_a_job_of_ours_that_lost_its_journal_is_damaged_and_not_imported(home: Path) -> None:
    put(home, "mine", encoded("mine", h.WAYS["running"])).unlink()
    make.write(home / "outputs" / "mine", make.form("mine") | {"job_id": "0" * 32})
    registry = load(home)
    shown = view.show(registry.entry("mine")).runtime
    assert shown.state is State.DAMAGED
    assert "events.jsonl: No such file or directory" in str(shown.reason)
    assert not (home / "outputs" / "mine" / "events.jsonl").exists()
    registry.writer.close()


def test_a_name_that_no_job_can_have_is_reported(home: Path) -> None:
    (home / "outputs" / "stopped").rename(home / "outputs" / "My LoRA")
    registry = load(home)
    assert [sentence.split(",")[0] for sentence in registry.misnamed] == [
        "'My LoRA' under outputs/ is an older training"
    ]
    assert registry.has("failed")
    registry.writer.close()
