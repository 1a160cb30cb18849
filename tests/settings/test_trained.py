# SPDX-License-Identifier: Apache-2.0
"""Tests of what a job's settings make of its pictures and captions, as the trainer itself reads them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fluxgym.protocol.messages import Context, Part, TriggerPlace
from fluxgymd.trainers import dataset_toml, settings
from tests.settings import asked
from tests.settings.values import TAGS


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asked.pictures(tmp_path_factory.mktemp("pictures"))


def job(pictures: Path, *, new: bool = True, **changes: Any) -> Context:
    usual: dict[str, Any] = {"name": "x", "dataset": str(pictures), "trigger_word": "c4t"}
    return settings.complete_training(Context(**(usual | changes)), Path("/home/fg"), new=new)


def test_the_text_of_each_picture(pictures: Path, tmp_path: Path) -> None:
    """An old job trains the first line, and uses its trigger word only where a caption is missing."""
    places = (TriggerPlace.FIRST, TriggerPlace.MISSING, TriggerPlace.NONE)
    jobs = [*(job(pictures, trigger_place=place) for place in places), job(pictures, new=False)]
    found = [each["pictures"] for each in asked.trained(jobs, tmp_path)]
    assert [[picture["text"] for picture in each] for each in found] == [
        ["c4t, a cat, grey", "c4t, a mat", "c4t"],
        ["a cat, grey", "C4T, a mat", "c4t"],
        ["a cat, grey", "C4T, a mat", ""],
        ["a cat,", "C4T, a mat", "c4t"],
    ]
    assert [any(picture["moreLines"] for picture in each) for each in found] == [False, False, False, True]


def test_shuffled_tags_stay_behind_the_trigger_word(pictures: Path, tmp_path: Path) -> None:
    words = ("c4t", "c4t, the cat")
    found = asked.trained([job(pictures, trigger_word=word, trainer_options=TAGS) for word in words], tmp_path)
    for word, each in zip(words, found, strict=True):
        texts = each["pictures"][0]["texts"]
        assert all(text.startswith(f"{word}, ") for text in texts)
        assert len(set(texts)) == 2  # "a cat" and "grey" change places


def test_a_photo_is_trained_whole(pictures: Path, tmp_path: Path) -> None:
    sizes = (64, 128, 256, 512, 800, 1024, 4096)
    jobs = [*(job(pictures, resolution=size) for size in sizes), job(pictures, enable_bucket=False)]
    *found, square = (each["pictures"] for each in asked.trained(jobs, tmp_path))
    kept = {
        size: [round(_kept(picture["bucket"], asked.SIZES[picture["name"][0]]), 2) for picture in each]
        for size, each in zip(sizes, found, strict=True)
    }
    assert all(share >= 0.94 for size in sizes if size >= 256 for share in kept[size]), kept
    assert kept[64] == [0.56, 0.75, 1.0]  # too small for anything but a square
    assert [picture["bucket"] for picture in square] == [[512, 512]] * 3


def test_each_picture_is_trained_at_every_resolution(pictures: Path, tmp_path: Path) -> None:
    several = job(pictures, resolutions=[512, 1024], repeats=3)
    found, *alone = asked.trained([several, *(job(pictures, resolution=size) for size in (512, 1024))], tmp_path)
    assert [picture["bucket"] for picture in found["pictures"]] == [
        picture["bucket"] for each in alone for picture in each["pictures"]
    ]
    assert (
        sum(picture["repeats"] for picture in found["pictures"]) == dataset_toml.steps_per_epoch(several, [3]) == 18
    )


REGULARISED = [(2, 1, []), (2, 9, []), (3, 5, ["0.5"]), (1, 2, [])]
"""Repeats of the part to learn, those of the regularisation part, and the share of the former that is validated."""


def test_a_job_with_parts_trains_each_as_it_says(pictures: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    shutil.copytree(pictures, others)
    (others / "a.txt").write_text("a dog, grey, fat, old")
    jobs = []
    for repeats, of_others, share in REGULARISED:
        other = Part(dataset=str(others), repeats=of_others, regularisation=True, caption="a thing")
        options = TAGS | ({"validation_split": share} if share else {})
        given: dict[str, Any] = {"repeats": repeats, "trigger_word": "c4t, old", "trainer_options": options}
        jobs.append(job(pictures, dataset=None, parts=[Part(dataset=str(pictures)), other], **given))
    (tmp_path / "jobs").mkdir()
    answers = asked.trained(jobs, tmp_path / "jobs")
    found = {(each["folder"], each["name"]): each for each in answers[0]["pictures"]}
    assert {place: each["text"] for place, each in found.items()} == {
        ("1", "a.png"): "c4t, old, a cat, grey",
        ("1", "b.png"): "c4t, old, C4T, a mat",
        ("1", "c.png"): "c4t, old",
        ("2", "a.png"): "a dog, grey, fat, old",
        ("2", "b.png"): "C4T, a mat",
        ("2", "c.png"): "a thing",
    }
    assert {place for place, each in found.items() if each["isReg"]} == {("2", name) for _, name in found}
    assert all(text.startswith("c4t, old, ") for text in found["1", "a.png"]["texts"])
    assert not all(text.startswith("a dog, grey, ") for text in found["2", "a.png"]["texts"])
    for context, answer in zip(jobs, answers, strict=True):
        trained = sum(each["repeats"] for each in answer["pictures"])
        assert trained == dataset_toml.steps_per_epoch(context, [3, 3])


def _kept(bucket: list[int], size: tuple[int, int]) -> float:
    """Returns the share of a picture that its bucket shows."""
    one, other = bucket[0] / bucket[1], size[0] / size[1]
    return min(one, other) / max(one, other)
