# SPDX-License-Identifier: Apache-2.0
"""A job's folder appears and disappears in one step."""

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from fluxgymd.core.disk.trash import Ages
from fluxgymd.core.journal import events
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


def test_a_removed_job_is_in_the_trash_until_it_is_restored_or_deleted(home: Home) -> None:
    for number in (1, 2):
        folder = home.publish(build(home), "my-lora")
        (folder.path / "number").write_text(str(number))
        home.remove(folder, f"{number:032}", now=7.0005 + number)
    last, first = home.trash.entries()
    assert (last.name, last.id, last.removed_at) == ("my-lora", f"{2:032}", 9.0)
    assert (first.id, first.removed_at) == (f"{1:032}", 8.0)
    assert jobs(home) == []
    home.prepare()  # a start leaves the trash alone
    home.trash.restore(first)
    assert (home.folder("my-lora").path / "number").read_text() == "1"
    with pytest.raises(FileExistsError):
        home.trash.restore(last)
    assert home.trash.entries() == [last]
    home.trash.delete(last)
    assert home.trash.entries() == []
    assert names(home) == [".trash", "my-lora"]


def test_other_files_in_the_trash_are_left_alone(home: Home) -> None:
    home.trash.path.mkdir()
    (home.trash.path / "notes.txt").touch()
    for name in ("my-lora", "my-lora@soon@ab", "my-lora@12"):
        (home.trash.path / name).mkdir()
    assert home.trash.entries() == []


def test_ages_that_cannot_be_read_are_not_known(home: Home) -> None:
    home.trash.path.mkdir()
    assert home.trash.ages() is None
    home.trash.write_ages(Ages(looked=7.0, kept={"a@1@b": 3.0}))
    assert home.trash.ages() == Ages(looked=7.0, kept={"a@1@b": 3.0})
    (home.trash.path / "ages.json").write_text('{"looked": "soon"}')
    assert home.trash.ages() is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_job_is_deleted_if_there_is_not_even_room_for_the_trash(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(home.trash, "put", full)
    assert home.remove(home.publish(build(home), "my-lora"), ID, now=7.0) is None
    assert names(home) == []


def test_a_deleted_job_leaves_nothing(home: Home) -> None:
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
