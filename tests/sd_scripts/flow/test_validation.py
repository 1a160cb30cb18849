# SPDX-License-Identifier: Apache-2.0
"""The validation loss: its pictures are not trained, it repeats exactly, and it does not affect the training."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from library.data import dataset, dataset_config, validation_split
from library.files.safetensors_file import load
from library.options import plan
from tests.sd_scripts.command_line import options
from tests.sd_scripts.in_process import run
from tests.sd_scripts.recorded import recorded
from tests.sd_scripts.running import Settings, make_pictures

SPLIT = "--network_train_unet_only --validation_split 0.4"


def losses_in(text: str) -> list[tuple[int, float]]:
    return [(int(step), float(loss)) for step, loss in re.findall(r"validation loss after step (\d+): (\S+)", text)]


def test_validation_is_due_at_the_right_steps() -> None:
    made = plan.make(options("--max_train_steps", "7"), batches_per_epoch=2)
    tables = {
        "": [2, 4, 6, 7],
        "--validate_every_n_epochs 2": [4, 7],
        "--validate_every_n_epochs 4 --validate_every_n_steps 3": [3, 6, 7],
    }
    for words, steps in tables.items():
        given = options("--max_train_steps", "7", *words.split())
        assert [step for step in range(1, 8) if plan.due_after(given, made, step, validates=True).validate] == steps
        assert not any(plan.due_after(given, made, step, validates=False).validate for step in range(1, 8))


def test_it_repeats_exactly_and_its_pictures_are_not_trained_on(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of three pictures are trained. With a rate that changes nothing, each validation gives the same loss."""
    still = run(settings.plus(f"{SPLIT} --learning_rate 1e-30 --max_train_epochs 3 --network_dropout 0.5"))
    assert (still.error, still.steps[-1]) == (None, 12)
    losses = losses_in(capsys.readouterr().out)
    assert [step for step, _ in losses] == [4, 8, 12]
    assert len({loss for _, loss in losses}) == 1

    learning = run(settings.plus(f"{SPLIT} --max_train_epochs 3", output="learning"))
    assert learning.error is None
    learned = losses_in(capsys.readouterr().out)
    assert len({loss for _, loss in learned}) == 3
    assert learned[0][1] != losses[0][1]


@pytest.mark.parametrize("rest", ["", "--optimizer_type AdamWScheduleFree"])
def test_the_training_does_not_notice_it(rest: str, settings: Settings, tmp_path: Path) -> None:
    words = f"{SPLIT} --max_train_epochs 2 --network_dropout 0.1 {rest}"
    for name, more in (("often", "--validate_every_n_steps 1"), ("seldom", "--validate_every_n_epochs 9")):
        assert run(settings.plus(f"{words} {more}", output=name)).error is None
    one, other = (load(tmp_path / name / "lora.safetensors") for name in ("often", "seldom"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("case", recorded("validation-split"), ids=lambda case: f"{case['split']}")
def test_pictures_are_set_aside_as_in_sd_scripts(case: dict[str, Any], tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "pictures", 1)
    for index in range(1, case["pictures"]):
        for ending in ("png", "txt"):
            shutil.copy(folder / f"0.{ending}", folder / f"{index}.{ending}")
    (tmp_path / "d.toml").write_text(
        "[[datasets]]\nresolution = 64\ncaption_extension = '.txt'\n"
        f"validation_split = {case['split']}\nvalidation_seed = {case['seed']}\n"
        f"[[datasets.subsets]]\nimage_dir = '{folder}'\nnum_repeats = 5\n"
    )
    found = dataset.find(dataset_config.read(tmp_path / "d.toml", defaults={"batch_size": 1}))
    trained, aside = validation_split.split(found)
    assert aside is not None
    assert sorted(picture.path.name for picture in trained.pictures) == case["trained"]
    assert sorted(picture.path.name for picture in aside.pictures) == case["validated"]
    assert {picture.repeats for picture in aside.pictures} == {1}


def test_a_split_that_leaves_no_pictures_is_reported(settings: Settings) -> None:
    outcome = run(settings.plus("--validation_split 0.01"))
    assert outcome.error == "validation_split 0.01 selects no picture of any folder: use a larger share"
