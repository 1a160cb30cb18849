# SPDX-License-Identifier: Apache-2.0
"""Tests on complete homes of the older program and of its fork: what is shown for each folder, and that no file
changes."""

import filecmp
import os
import shutil
from pathlib import Path

import pytest

from fluxgymd.core.job import Completed, Failed, Stopped
from fluxgymd.importing.folder import Older, find
from tests.data.older import make

STATES = {Completed: "completed", Failed: "failed", Stopped: "stopped"}


@pytest.fixture(params=["original", "fork"])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return copy(request.param, tmp_path)


def copy(name: str, tmp_path: Path) -> Path:
    target = tmp_path / name
    shutil.copytree(make.HERE / name, target)
    # Git does not store empty folders.
    (target / "outputs" / "sample").mkdir(exist_ok=True)
    return target


def seen(home: Path) -> dict[str, Older]:
    return {older.name: older for older in find(home, known=()).older}


def state(older: Older) -> str:
    return STATES[type(older.job.state)]


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Returns the time, the mode and the content of every file and folder. The time of a folder shows whether
    anything was created or removed in it."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        facts = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (facts.st_mtime_ns, facts.st_mode, content)
    return found


def test_the_recorded_homes_are_those_that_the_script_makes(tmp_path: Path) -> None:
    make.make(tmp_path)
    for name in ("original", "fork"):
        made = sorted(path.relative_to(tmp_path) for path in (tmp_path / name).rglob("*") if path.is_file())
        kept = sorted(path.relative_to(make.HERE) for path in (make.HERE / name).rglob("*") if path.is_file())
        assert made == kept
        assert filecmp.cmpfiles(tmp_path, make.HERE, map(str, made), shallow=False)[1:] == ([], [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "original",
            {
                "finished": ("completed", []),
                "epochs-only": (
                    "stopped",
                    [
                        (
                            "it saved no state, so it could only start over; "
                            "submit its dataset as a new job to train it again"
                        )
                    ],
                ),
                "with-states": ("stopped", []),
                "o-keeffe": ("failed", []),
            },
        ),
        (
            "fork",
            {
                "stopped": ("stopped", []),
                "torn": ("stopped", []),
                "failed": ("failed", []),
                "resumed": ("completed", []),
                "again": ("failed", []),
                "no-script": ("stopped", []),
                "cut-form": ("stopped", []),
            },
        ),
    ],
)
def test_the_shown_values_are_those_of_the_older_training(
    tmp_path: Path, name: str, expected: dict[str, tuple[str, list[str]]]
) -> None:
    jobs = seen(copy(name, tmp_path))
    told = {name: (state(older), [obstacle.sentence for obstacle in older.obstacles]) for name, older in jobs.items()}
    assert told == expected


def test_no_file_is_touched(home: Path) -> None:
    before = tree(home)
    assert seen(home)
    assert tree(home) == before


def test_a_folder_that_is_not_a_training_is_skipped_and_a_bad_name_is_reported(tmp_path: Path) -> None:
    found = find(copy("original", tmp_path), known=())
    assert not {"notes", "sample", "My LoRA"} & {older.name for older in found.older}
    assert found.misnamed == [
        (
            "'My LoRA' under outputs/ is an older training, but its name is not a valid job name; "
            "rename the folder to 'my-lora' to see it."
        )
    ]
    assert found.lost == []


def test_a_folder_with_a_journal_is_not_read(home: Path) -> None:
    names = os.listdir(home / "outputs")
    assert find(home, known=names).older == []


def test_a_folder_that_cannot_be_read_hides_no_other(home: Path) -> None:
    everything = seen(home)
    name = min(everything)
    (home / "outputs" / name / "train.sh").unlink(missing_ok=True)
    (home / "outputs" / name / "train.sh").symlink_to("train.sh")  # opening it fails with ELOOP, even for root
    (home / "outputs" / name / f"{name}-000004.safetensors").unlink(missing_ok=True)
    (home / "outputs" / name / f"{name}-000004.safetensors").mkdir()
    assert set(seen(home)) == set(everything) - {name}


def test_an_id_stays_and_a_copy_has_another(tmp_path: Path) -> None:
    first, second = copy("fork", tmp_path / "a"), copy("fork", tmp_path / "b")
    ids = {name: older.job.id for name, older in seen(first).items()}
    assert {name: older.job.id for name, older in seen(first).items()} == ids
    assert not set(ids.values()) & {older.job.id for older in seen(second).values()}
    assert len(set(ids.values())) == len(ids)


def test_our_own_job_without_its_journal_is_not_mistaken_for_an_older_one(home: Path) -> None:
    folder = home / "outputs" / "mine"
    folder.mkdir()
    make.write(folder, make.form("mine") | {"job_id": "0" * 32})
    found = find(home, known=())
    assert found.lost == ["mine"]
    assert "mine" not in {older.name for older in found.older}


def test_the_form_replaces_a_missing_script(tmp_path: Path) -> None:
    context = seen(copy("fork", tmp_path))["no-script"].job.context
    assert context.model is not None
    assert (context.network_dim, context.seed) == (8, 7)
    assert str(context.model.transformer).endswith("models/unet/flux1-schnell.safetensors")
    assert (context.trainer_options or {})["network_args"] == ["train_blocks=single"]


def test_an_apostrophe_that_broke_the_old_dataset_file_does_not_matter(tmp_path: Path) -> None:
    home = copy("original", tmp_path)
    (home / "datasets" / "o-keeffe").mkdir(parents=True)
    older = seen(home)["o-keeffe"]
    assert older.obstacles == ()
    assert older.job.context.dataset == str(home / "datasets" / "o-keeffe")


def test_the_log_says_why_it_failed(tmp_path: Path) -> None:
    job = seen(copy("fork", tmp_path))["failed"].job
    assert isinstance(job.state, Failed)
    assert job.state.failure == "gpu_out_of_memory"
    assert job.submitted_at == make.STARTED
