# SPDX-License-Identifier: Apache-2.0
"""The subsets of a job: where their pictures are, and what a picture without a caption is trained with."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxgym.errors import InvalidSetting
from fluxgym.protocol.messages import Context, Part, TriggerPlace
from fluxgymd.snapshots import subsets
from fluxgymd.snapshots.captions import Captions, Lines
from fluxgymd.snapshots.subsets import Subset

PARTS = [Part(dataset="cats", caption="a cat"), Part(dataset="/reg", repeats=2, regularisation=True)]
HOW = Captions(lines=Lines.JOINED, trigger="c4t")


def test_each_part_has_a_folder_of_its_own_and_the_repeats_of_the_job_unless_it_has_its_own() -> None:
    job = Context(name="x", parts=PARTS, repeats=7)
    assert subsets.of(job) == (
        Subset(place="1", dataset="cats", repeats=7, caption="a cat"),
        Subset(place="2", dataset="/reg", repeats=2, regularisation=True),
    )
    assert subsets.folders(job, Path("/job/dataset")) == (Path("/job/dataset/1"), Path("/job/dataset/2"))


def test_without_parts_the_copy_itself_has_the_pictures() -> None:
    job = Context(name="x", dataset="/pictures", repeats=7)
    assert subsets.of(job) == (Subset(place="", dataset="/pictures", repeats=7),)
    assert subsets.folders(job, Path("/job/dataset")) == (Path("/job/dataset"),)


def test_the_folders_of_one_dataset_are_that_dataset() -> None:
    folders = [Part(dataset="cats", folder="10_cat"), Part(dataset="cats", folder="")]
    subsets.refuse(Context(name="x", parts=folders))
    assert subsets.dataset_of(Context(name="x", parts=folders)) == "cats"
    assert subsets.dataset_of(Context(name="x", parts=[*folders, Part(dataset="dogs", folder="")])) is None
    assert subsets.dataset_of(Context(name="x", parts=PARTS)) is None
    assert subsets.dataset_of(Context(name="x", dataset="cats")) == "cats"
    with pytest.raises(InvalidSetting, match="/reg is a path; give 10_cat at its end, not as folder"):
        subsets.refuse(Context(name="x", parts=[Part(dataset="/reg", folder="10_cat")]))
    for more in (folders[0], Part(dataset="cats", repeats=2)):
        for parts in ([*folders, more], [more, *folders]):
            with pytest.raises(InvalidSetting, match="cats is given as two parts"):
                subsets.refuse(Context(name="x", parts=parts))


def test_parts_are_those_of_a_job_whatever_their_datasets_added() -> None:
    folders = [Part(dataset="cats", folder="", repeats=7), Part(dataset="cats", folder="3_a", repeats=3)]
    recorded = [*folders, PARTS[1]]
    assert subsets.are_same([Part(dataset="cats"), PARTS[1]], recorded)
    assert subsets.are_same(recorded, recorded)
    assert subsets.are_same([Part(dataset="/reg", regularisation=True)], [PARTS[1]])
    for others in (
        [PARTS[1], Part(dataset="cats")],
        [Part(dataset="cats", folder="3_a"), PARTS[1]],
        [Part(dataset="cats", repeats=3), PARTS[1]],
        [Part(dataset="dogs"), PARTS[1]],
    ):
        assert not subsets.are_same(others, recorded)


FALLBACKS: dict[str, tuple[Part, TriggerPlace, str]] = {
    "the trigger": (Part(dataset="a"), TriggerPlace.FIRST, "c4t"),
    "not used": (Part(dataset="a"), TriggerPlace.NONE, ""),
    "its own, triggered": (Part(dataset="a", caption="a cat"), TriggerPlace.FIRST, "c4t, a cat"),
    "blank": (Part(dataset="a", caption=" "), TriggerPlace.FIRST, "c4t"),
    "regularisation": (Part(dataset="a", regularisation=True), TriggerPlace.FIRST, ""),
    "its own": (Part(dataset="a", regularisation=True, caption="a cat"), TriggerPlace.FIRST, "a cat"),
}


@pytest.mark.parametrize(("part", "place", "text"), FALLBACKS.values(), ids=FALLBACKS.keys())
def test_a_picture_without_a_caption_has_that_of_its_part(part: Part, place: TriggerPlace, text: str) -> None:
    (subset,) = subsets.of(Context(name="x", parts=[part]))
    assert subset.fallback(Context(name="x", trigger_word="c4t", trigger_place=place), HOW) == text
