# SPDX-License-Identifier: Apache-2.0
"""The files and samples of a job: only those that lie in its folder."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from fluxgym.protocol.messages import Context, Kind
from fluxgym.protocol.output_messages import FileKind
from fluxgymd.outputs import files
from fluxgymd.store.home import JobFolder
from tests.store.files import LORA, our_state
from tests.trainers.adapters import trainers

DATE = "20261123131507"
TRAINING = Context(name="cat", dataset="/none", sample_prompts=["a cat --w 64 --d 42", "a dog"])
PROGRAM = Context(name="cat", kind=Kind.PROGRAM, program=["/bin/true"])


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    (tmp_path / "cat").mkdir()
    return JobFolder(tmp_path / "cat")


def kinds(context: Context | None, folder: JobFolder) -> dict[str, FileKind]:
    trainer = trainers().of(context or Context(name="cat"))
    return {file.name: file.kind for file in files.files(trainer, context, folder)}


def sample(folder: JobFolder, name: str) -> None:
    folder.samples.mkdir(exist_ok=True)
    (folder.samples / f"cat_{name}.png").write_bytes(b"png")


@pytest.mark.parametrize("context", [TRAINING, None])
def test_each_file_has_its_kind(folder: JobFolder, context: Context | None) -> None:
    for name in ("training.log", "events.jsonl", "ui_state.json", "notes.txt", ".hidden", "monitor.pid"):
        (folder.path / name).write_text(name)
    (folder.path / "cat.safetensors").write_bytes(LORA)
    our_state(folder.path / "cat-state")
    sample(folder, f"e000004_00_{DATE}")
    evidence = folder.attempt(1) / "evidence"
    evidence.mkdir(parents=True)
    (evidence / "processes.txt").write_text("1")
    (folder.attempt(1) / "command.txt").write_text("python train.py")
    (folder.path / "dataset").mkdir()
    (folder.path / "dataset" / "a.png").write_bytes(b"png")
    assert kinds(context, folder) == {
        "training.log": FileKind.LOG,
        "events.jsonl": FileKind.HISTORY,
        "ui_state.json": FileKind.SETTINGS,
        "notes.txt": FileKind.OTHER,
        "cat.safetensors": FileKind.LORA,
        "cat-state": FileKind.STATE,
        f"sample/cat_e000004_00_{DATE}.png": FileKind.SAMPLE,
        "attempts/001/evidence/processes.txt": FileKind.EVIDENCE,
        "attempts/001/command.txt": FileKind.SETTINGS,
    }


def test_the_newest_file_is_first_and_there_is_a_limit(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate(("c", "a", "b")):
        (folder.path / name).write_text(name)
        os.utime(folder.path / name, (1000 - age, 1000 - age))
    assert list(kinds(TRAINING, folder)) == ["c", "a", "b"]
    monkeypatch.setattr(files, "MOST", 2)
    assert list(kinds(TRAINING, folder)) == ["c", "a"]


def test_the_results_of_a_program_are_listed(folder: JobFolder) -> None:
    (folder.path / "out").mkdir()
    (folder.path / "out/made.txt").write_text("words")
    told = {"files": [{"path": name, "size": 5} for name in ("out/made.txt", "missing.txt")]}
    (folder.path / "result.json").write_text(json.dumps(told))
    assert kinds(PROGRAM, folder) == {"result.json": FileKind.RESULT, "out/made.txt": FileKind.RESULT}


def test_nothing_outside_the_folder_is_listed(folder: JobFolder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_text("secret")
    (folder.path / "link").symlink_to(tmp_path / "secret")
    (folder.path / "way").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder.path / "fifo")
    named = ["../secret", str(tmp_path / "secret"), "link", "way/secret", "fifo", "", "a\0b", "x" * 5000, ".", "a//b"]
    (folder.path / "result.json").write_text(json.dumps({"files": [{"path": name, "size": 6} for name in named]}))
    assert kinds(PROGRAM, folder) == {"result.json": FileKind.RESULT}


def test_a_folder_of_samples_that_is_a_link_has_no_samples(folder: JobFolder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"elsewhere/cat_e000004_00_{DATE}.png").write_bytes(b"png")
    folder.samples.symlink_to(tmp_path / "elsewhere")
    assert files.samples(trainers().of(TRAINING), TRAINING, folder) == []


def test_samples_are_in_the_order_of_the_training(folder: JobFolder) -> None:
    for name in (f"000020_00_{DATE}_42", f"000020_01_{DATE}", f"000000_00_{DATE}_42", f"000020_07_{DATE}"):
        sample(folder, name)
    sample(folder, "of another name")
    (folder.samples / "cat-contact-sheet.png").write_bytes(b"png")
    found = files.samples(trainers().of(TRAINING), TRAINING, folder)
    assert [(one.step, one.number, one.seed, one.prompt) for one in found] == [
        (0, 0, 42, "a cat"),
        (20, 0, 42, "a cat"),
        (20, 1, None, "a dog"),
        (20, 7, None, None),
    ]
    assert [Path(one.path).relative_to(folder.path) for one in found] == [Path(one.file) for one in found]


def test_a_sample_keeps_the_prompt_that_it_was_made_from(folder: JobFolder) -> None:
    sample(folder, f"000020_00_{DATE}")
    written = PngImagePlugin.PngInfo()
    written.add_itxt("prompt", "an older cat, 猫")
    Image.new("RGB", (8, 8)).save(folder.samples / f"cat_000020_01_{DATE}.png", pnginfo=written)
    found = files.samples(trainers().of(TRAINING), TRAINING, folder)
    assert [one.prompt for one in found] == ["a cat", "an older cat, 猫"]
