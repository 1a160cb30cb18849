# SPDX-License-Identifier: Apache-2.0
"""What a submit reports about a dataset: where its pictures are, if outside it, and which files it leaves out."""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fluxgym.errors import InvalidDataset, InvalidSetting
from fluxgym.protocol import methods as m
from fluxgym.protocol.messages import Context, Model, Part, TriggerPlace
from tests.daemon.running import RunningDaemon, context


def test_for_a_parent_folder_the_one_with_the_pictures_is_proposed_beside_all_other_problems(
    daemon: RunningDaemon, model: Path, folder: Path
) -> None:
    above = folder / "dataset"
    shutil.copytree(model / "pictures", above / "10_s1gn sign")
    wrong = context("my-lora", model, dataset=str(above))
    missing = msgspec.structs.replace(wrong.model or Model(), transformer=str(folder / "none"))
    with pytest.raises(InvalidDataset) as refused:
        daemon.submit(msgspec.structs.replace(wrong, model=missing))
    about_pictures, about_model = refused.value.message.splitlines()
    assert about_pictures == (
        f"The dataset {above} contains no pictures itself, but its folder 10_s1gn sign does; "
        f"give {above}/10_s1gn sign as the dataset, with --repeats 10."
    )
    assert about_model.startswith(f"The file {folder / 'none'} for the Flux transformer does not exist")


def test_files_left_out_and_missing_captions_are_reported_once(
    daemon: RunningDaemon, model: Path, folder: Path
) -> None:
    dataset = folder / "dataset"
    shutil.copytree(model / "pictures", dataset)
    min(dataset.glob("*.txt")).unlink()
    for name in ("IMG_1.HEIC", "IMG_2.heic"):
        (dataset / name).touch()
    shutil.copytree(model / "pictures", dataset / "more")
    left_out, below, captions = daemon.submit(context("my-lora", model, dataset=str(dataset), held=True)).warnings
    assert left_out.startswith("2 pictures in other formats are left out (the first is IMG_1.HEIC);")
    assert below.startswith("8 pictures in subfolders are left out (the first is more/")
    assert captions.startswith("1 of 8 pictures has no caption")
    assert "more" not in {path.name for path in (daemon.folder("my-lora") / "dataset").iterdir()}


def test_the_warnings_are_about_the_captions_that_are_trained(
    daemon: RunningDaemon, model: Path, folder: Path
) -> None:
    dataset = folder / "dataset"
    shutil.copytree(model / "pictures", dataset)
    first = min(dataset.glob("*.txt"))
    first.write_text("a sign,\n" + "very " * 80 + "far away")
    only_clip = {"network_train_unet_only": ["false"], "t5xxl_max_token_length": ["512"]}
    options = (context("x", model).trainer_options or {}) | only_clip
    job = context("my-lora", model, dataset=str(dataset), held=True, trigger_word="s1gn", trainer_options=options)
    (too_long,) = daemon.submit(job).warnings
    assert too_long.startswith("1 of 8 captions ")
    assert str(first) in too_long
    assert "outputs" not in too_long
    copy = daemon.folder("my-lora") / "dataset"
    assert (copy / first.name).read_text().startswith("s1gn, a sign, very very")

    def edit(**changes: Any) -> None:
        daemon.call(m.EDIT, m.SubmitParameters(job=Context(name="my-lora", **changes)))

    refusals: dict[str, dict[str, Any]] = {
        "trigger_word": {"trigger_word": "cr0ss"},
        "trigger_place": {"trigger_place": TriggerPlace.NONE},
        "enable_wildcard": {"trainer_options": {"enable_wildcard": []}},
    }
    for setting, changes in refusals.items():
        with pytest.raises(InvalidSetting) as refused:
            edit(**changes)
        assert refused.value.message == (
            f"{setting} cannot be changed; the captions were written with it at submission; submit another job "
            "instead."
        )
    edit(enable_bucket=False)
    assert daemon.job("my-lora").context.enable_bucket is False


def test_the_parts_of_a_job_are_checked_where_they_are_and_stay_as_they_are(
    daemon: RunningDaemon, model: Path, folder: Path
) -> None:
    gone = Part(dataset=str(folder / "gone"), repeats=3, regularisation=True)
    parts = [Part(dataset=str(model / "pictures"), repeats=2), gone]
    job = context("my-lora", model, dataset=None, parts=parts, held=True)
    with pytest.raises(InvalidDataset) as refused:
        daemon.submit(job)
    assert refused.value.message == f"The folder {folder}/gone does not exist; give the folder with the pictures."
    shutil.copytree(model / "pictures", folder / "gone")
    min((folder / "gone").glob("*.png")).unlink()
    daemon.submit(job)

    def edit(**changes: Any) -> None:
        daemon.call(m.EDIT, m.SubmitParameters(job=Context(name="my-lora", **changes)))

    edit(parts=[parts[0], msgspec.structs.replace(gone, repeats=None)], epochs=2)
    edited = daemon.job("my-lora").context
    assert (edited.epochs, edited.parts) == (2, parts)
    for others in (parts[:1], [parts[0], msgspec.structs.replace(gone, regularisation=False)]):
        with pytest.raises(InvalidSetting, match=r"^parts cannot be changed; submit another job instead\.$"):
            edit(parts=others)
    with pytest.raises(InvalidSetting, match=r"^repeats has no effect on this job, since each of its parts has its"):
        edit(repeats=5)
    with pytest.raises(InvalidSetting, match=r"^dataset cannot be changed"):
        edit(dataset=str(folder / "gone"))
    target = folder / "exported"
    daemon.call(m.EXPORT, m.ExportParameters(name="my-lora", folder=str(target)))
    subsets = tomllib.loads((target / "dataset.toml").read_text())["datasets"][0]["subsets"]
    assert [(each["image_dir"], each.get("is_reg", False)) for each in subsets] == [
        ("dataset/1", False),
        ("dataset/2", True),
    ]
    assert [len(list((target / each["image_dir"]).glob("*.png"))) for each in subsets] == [8, 7]
    shutil.rmtree(copy := daemon.folder("my-lora") / "dataset")
    with pytest.raises(InvalidDataset, match=f"^The folder {re.escape(str(copy))}/1 does not exist; "):
        daemon.call(m.EXPORT, m.ExportParameters(name="my-lora", folder=str(folder / "again")))
