# SPDX-License-Identifier: Apache-2.0
"""What clients ask for becomes an event, or is refused with a sentence."""

from typing import Any

import pytest

from fluxgym.errors import (
    FluxgymError,
    InvalidValue,
    NoSuchChange,
    NoSuchPicture,
    NothingToUndo,
    StaleChange,
)
from fluxgym.protocol.dataset_messages import Crop, PictureChange
from fluxgymd.core.datasets import changing
from fluxgymd.core.datasets import events as e
from fluxgymd.core.datasets.dataset import Dataset, fold
from tests.core.datasets.histories import added, created, edited, undone

CROP = Crop(left=0, top=0, width=100, height=100)


def dataset(*events: e.AnyEvent) -> Dataset:
    return fold([created(), added("a.png", caption="a cat"), added("b.png"), *events])


def change(*changes: PictureChange, revision: int | None = None) -> e.Edited | None:
    return changing.edited(dataset(edited("a.png", used=False)), "cats", changes, revision=revision, now=9.0)


EDITS: dict[str, tuple[dict[str, Any], e.Edit | None]] = {
    "a caption": ({"caption": " a dog\n"}, e.Edit(picture="a.png", caption="a dog")),
    "the same caption": ({"caption": "a cat "}, None),
    "an empty caption removes it": ({"caption": " "}, e.Edit(picture="a.png", caption=None)),
    "a crop": ({"crop": CROP}, e.Edit(picture="a.png", crop=CROP)),
    "a crop of the whole picture": ({"crop": Crop(left=0, top=0, width=640, height=480)}, None),
    "no crop where there is none": ({"whole": True}, None),
    "used": ({"used": True}, e.Edit(picture="a.png", used=True)),
    "not used already": ({"used": False}, None),
    "several": (
        {"caption": "x", "used": True, "crop": CROP},
        e.Edit(picture="a.png", caption="x", crop=CROP, used=True),
    ),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("wanted", "edit"), EDITS.values(), ids=EDITS.keys())
def test_a_change_says_what_differs(wanted: dict[str, Any], edit: e.Edit | None) -> None:
    event = change(PictureChange(picture="a.png", **wanted))
    assert event == (None if edit is None else e.Edited(at=9.0, edits=(edit,)))


REFUSED: dict[str, tuple[list[PictureChange], type[FluxgymError], str]] = {
    "no such picture": ([PictureChange(picture="c.png", used=True)], NoSuchPicture, "no picture c.png; `fluxgymctl"),
    "another ending": ([PictureChange(picture="B.PNG", used=True)], NoSuchPicture, "B.PNG; did you mean b.png?"),
    "twice": ([PictureChange(picture="a.png"), PictureChange(picture="a.png")], InvalidValue, "twice"),
    "a crop outside": (
        [PictureChange(picture="a.png", crop=Crop(left=600, top=0, width=50, height=9))],
        InvalidValue,
        "50x9.600.0 is not in a.png: the picture has 640 x 480 pixels",
    ),
    "a crop without area": (
        [PictureChange(picture="a.png", crop=Crop(left=0, top=0, width=0, height=9))],
        InvalidValue,
        "no area",
    ),
    "whole and a crop": ([PictureChange(picture="a.png", whole=True, crop=CROP)], InvalidValue, "whole"),
    "too long": ([PictureChange(picture="a.png", caption="x" * 100_001)], InvalidValue, "at most 100000"),
    "a NUL": ([PictureChange(picture="a.png", caption="\0")], InvalidValue, "NUL"),
}


@pytest.mark.parametrize(("changes", "kind", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_change_that_is_refused(changes: list[PictureChange], kind: type[FluxgymError], said: str) -> None:
    with pytest.raises(kind, match=said):
        change(*changes)


def test_a_change_of_a_picture_that_has_changed_since_is_refused() -> None:
    with pytest.raises(StaleChange, match=r"a\.png was changed in revision 4 of cats, after .* 3 .*read it again"):
        change(PictureChange(picture="a.png", caption="x"), revision=3)
    assert change(PictureChange(picture="b.png", caption="x"), revision=3) is not None
    assert change(PictureChange(picture="a.png", caption="x"), revision=4) is not None


def replace(find: str, text: str, *events: e.AnyEvent) -> dict[str, str]:
    found = changing.replacements(dataset(*events), "cats", find=find, replace=text, revision=None)
    return {one.picture: one.after for one in found}


def test_a_replacement_concerns_the_captions_that_contain_the_text() -> None:
    assert replace("cat", "dog") == {"a.png": "a dog"}
    assert replace("Cat", "dog") == {}
    assert replace("a cat", "") == {"a.png": ""}
    assert replace("a", "a") == {}
    padded = added("c.png", caption=" no c ")  # as an import may leave it
    assert replace("cat", "dog", padded) == {"a.png": "a dog"}
    found = changing.replacements(dataset(), "cats", find="a cat", replace="", revision=None)
    assert changing.replaced(found, find="a cat", now=9.0) == e.Edited(
        at=9.0, edits=(e.Edit(picture="a.png", caption=None),), found="a cat"
    )
    assert changing.replaced([], find="x", now=9.0) is None


def test_a_replacement_in_a_caption_that_has_changed_since_is_refused() -> None:
    changed = dataset(edited("a.png", caption="a black cat"))
    with pytest.raises(StaleChange, match=r"a\.png was changed in revision"):
        changing.replacements(changed, "cats", find="cat", replace="dog", revision=3)
    assert changing.replacements(changed, "cats", find="dog", replace="cat", revision=3) == []


@pytest.mark.parametrize(("find", "text", "said"), [("", "x", "empty"), ("a", "x" * 100_000, "more than 100000")])
def test_a_replacement_that_is_refused(find: str, text: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        replace(find, text)


def test_undo_without_a_number_takes_back_one_change_after_another() -> None:
    events: list[e.AnyEvent] = [edited("a.png", caption="x")]
    taken = []
    for _ in range(3):
        event = changing.undone(dataset(*events), "cats", None, now=9.0)
        taken.append(event.change)
        events.append(event)
    assert taken == [4, 3, 2]
    with pytest.raises(NothingToUndo, match="cats has no change to undo"):
        changing.undone(dataset(*events), "cats", None, now=9.0)


def test_undo_with_a_number_that_cannot_be_undone_says_what_can() -> None:
    with pytest.raises(NoSuchChange, match="no change 9 that can be undone; the last ones are 2, 3"):
        changing.undone(dataset(), "cats", 9, now=9.0)
    with pytest.raises(NothingToUndo, match="Change 3 of cats is undone already; to bring it back, undo change 4"):
        changing.undone(dataset(undone(3)), "cats", 3, now=9.0)
    assert changing.undone(dataset(undone(3)), "cats", 4, now=9.0).change == 4
