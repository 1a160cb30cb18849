# SPDX-License-Identifier: Apache-2.0
"""The verb `export`: the folder stands alone, the trainer accepts it, and what is there already is left alone."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.running import ROOT, TRAINER_PYTHON, RunningDaemon
from tests.fluxgymctl.program import ctl
from tests.fluxgymctl.programs import submit
from tests.harness.waiting import DEADLINE_SECONDS


@pytest.fixture(scope="module")
def jobs(shared_daemon: RunningDaemon, spec: Path) -> Iterator[RunningDaemon]:
    """The shared daemon with a held training `exported`."""
    flags = ("--trigger-word", "O'Keeffe", "--sample-prompt", "a sign", "--sample-every-epochs", "1", "--hold")
    done = ctl("submit", "exported", "--file", str(spec), *flags, socket=shared_daemon.socket)
    assert done.returncode == 0, done.stderr
    yield shared_daemon
    shared_daemon.remove("exported")


def test_the_trainer_accepts_the_folder_wherever_it_is_moved(jobs: RunningDaemon, tmp_path: Path) -> None:
    done = ctl("export", "exported", "it's here", socket=jobs.socket, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/it's here/train.sh\n"
    moved = tmp_path / "moved to 'b'"
    shutil.move(tmp_path / "it's here", moved)
    assert sorted(os.listdir(tmp_path)) == [moved.name]
    assert sorted(os.listdir(moved)) == ["dataset", "dataset.toml", "sample_prompts.txt", "train.sh"]
    copied = {path.name: path.read_bytes() for path in (jobs.folder("exported") / "dataset").iterdir()}
    assert {path.name: path.read_bytes() for path in (moved / "dataset").iterdir()} == copied
    checked = subprocess.run(
        [moved / "train.sh", "--check_job"],
        env={
            "PATH": os.environ["PATH"],
            "OMP_NUM_THREADS": "1",
            "SD_SCRIPTS": str(ROOT / "sd-scripts"),
            "PYTHON": str(TRAINER_PYTHON),
        },
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert checked.returncode == 0, checked.stderr
    answer = json.loads(checked.stdout)
    assert answer["problems"] == []
    assert any(str(moved / "dataset") in file for file in answer["files"])


@pytest.mark.parametrize(
    ("name", "target", "status", "sentence"),
    [
        ("exported", "full", 4, "The folder {here}/full is not empty; choose another one."),
        ("exported", "file", 4, "{here}/file exists and is not a folder; choose another name."),
        ("exported", "none/a", 2, "The folder {here}/none does not exist."),
        ("exported", "{outputs}/x", 4, "{outputs}/x belongs to FluxGym's jobs; choose another folder."),
        ("nobody", "new", 3, "There is no job nobody."),
        ("program", "new", 2, "program is a program; only trainings can be exported."),
        ("exported", "", 2, "FOLDER is empty; give the path of a folder."),
    ],
)
def test_what_is_impossible_is_one_sentence_and_leaves_nothing_behind(
    name: str, target: str, status: int, sentence: str, jobs: RunningDaemon, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    (tmp_path / "file").touch()
    if name == "program":
        submit(jobs, "program", "--hold")
    places = {"here": tmp_path, "outputs": jobs.home / "outputs"}
    done = ctl("export", name, target.format(**places), socket=jobs.socket, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == f"fluxgymctl: {sentence.format(**places)}\n"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "file", "full"]
    if name == "program":
        jobs.remove("program")


def test_an_empty_folder_is_filled(jobs: RunningDaemon, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = ctl("export", "exported", str(tmp_path / "empty"), "--as", "sd-scripts", socket=jobs.socket)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "empty" / "train.sh").is_file()
