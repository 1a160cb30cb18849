# SPDX-License-Identifier: Apache-2.0
"""A job's folder appears and disappears in one step."""

import shutil
import stat
from pathlib import Path

import pytest

from fluxgymd.core import events
from fluxgymd.store.home import Home, JobFolder
from tests.core import histories as h

ID = "0123456789abcdef" * 2


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


def build(home: Home, job_id: str = ID) -> Path:
    folder = home.new_folder(job_id)
    (folder / "events.jsonl").write_bytes(events.encode(h.submitted()))
    return folder


def names(home: Home) -> list[str]:
    return sorted(entry.name for entry in home.outputs.iterdir())


def test_a_home_is_created_for_its_owner_only(home: Home) -> None:
    assert stat.S_IMODE(home.outputs.stat().st_mode) == 0o700
    home.prepare()  # a second call changes nothing
    assert names(home) == []


def jobs(home: Home) -> list[JobFolder]:
    return [folder for folder in home.folders() if folder.is_job]


def test_a_job_exists_from_the_moment_it_has_its_name(home: Home) -> None:
    built = build(home)
    assert jobs(home) == []  # everything is written, but it isn't a job yet
    folder = home.publish(built, "my-lora")
    assert jobs(home) == [folder] == [home.folder("my-lora")]
    assert names(home) == ["my-lora"]


@pytest.mark.parametrize("what", ["job", "empty folder", "file", "dangling link"])
def test_a_taken_name_is_left_unchanged(home: Home, what: str) -> None:
    target = home.outputs / "my-lora"
    match what:
        case "job":
            home.publish(build(home, "a" * 32), "my-lora")
        case "empty folder":
            target.mkdir()
        case "file":
            target.write_text("mine")
        case "dangling link":
            target.symlink_to("nowhere")
    before = target.lstat()
    built = build(home)
    with pytest.raises(FileExistsError):
        home.publish(built, "my-lora")
    assert target.lstat().st_ino == before.st_ino
    assert built.is_dir()  # the caller deletes it


def test_half_made_and_half_deleted_jobs_are_removed_at_the_next_start(home: Home) -> None:
    home.publish(build(home), "my-lora")
    build(home, "b" * 32)
    (home.outputs / ".trash-c" / "attempts" / "001").mkdir(parents=True)
    (home.outputs / ".snapshots").mkdir()  # made by a volume, not by FluxGym
    (home.outputs / "README.md").write_text("not ours either")
    home.prepare()
    assert names(home) == [".snapshots", "README.md", "my-lora"]
    assert [folder.name for folder in jobs(home)] == ["my-lora"]


def test_a_folder_without_a_journal_is_not_a_job(home: Home) -> None:
    (home.outputs / "notes").mkdir()
    assert jobs(home) == []


def test_a_removed_job_leaves_nothing(home: Home) -> None:
    folder = home.publish(build(home), "my-lora")
    folder.attempt(1).mkdir(parents=True)
    home.remove(folder, ID)
    assert names(home) == []


def test_a_job_whose_folder_was_deleted_by_hand_can_be_removed(home: Home) -> None:
    folder = home.publish(build(home), "my-lora")
    shutil.rmtree(folder.path)
    home.remove(folder, ID)
    assert names(home) == []


def test_a_job_with_one_id_is_built_once(home: Home) -> None:
    build(home)
    with pytest.raises(FileExistsError):
        home.new_folder(ID)


def test_the_names_in_the_folder_of_a_job_are_known(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "my-lora")
    paths = {
        name: str(getattr(folder, name).relative_to(folder.path))
        for name, kind in vars(JobFolder).items()
        if isinstance(kind, property) and name not in ("name", "path", "is_job")
    }
    assert paths == {
        "journal": "events.jsonl",
        "settings": "ui_state.json",
        "dataset": "dataset",
        "dataset_config": "dataset.toml",
        "sample_prompts": "sample_prompts.txt",
        "log": "training.log",
        "monitor_log": "monitor.log",
        "monitor_pid": "monitor.pid",
        "metrics": "metrics.jsonl",
        "samples": "sample",
    }
    assert [folder.attempt(number).name for number in (1, 12, 1234)] == ["001", "012", "1234"]
