# SPDX-License-Identifier: Apache-2.0
"""The fold of a dataset's events, undo in any order, and histories that are impossible."""

import msgspec
import pytest

from fluxgym.protocol.dataset_messages import Crop
from fluxgymd.core.datasets import events as e
from fluxgymd.core.datasets.dataset import Dataset, fold, free_name, stem_of
from fluxgymd.core.job import BadHistory
from fluxgymd.core.journal.events import encode
from tests.core.datasets.histories import added, created, edited, stored, undone

CROP = Crop(left=10, top=20, width=100, height=200)


def captions(dataset: Dataset) -> dict[str, str | None]:
    return {name: picture.caption for name, picture in dataset.pictures.items()}


FOLDS: dict[str, tuple[list[e.AnyEvent], dict[str, str | None]]] = {
    "pictures come by name": ([added("b.png", "a.png")], {"a.png": None, "b.png": None}),
    "an imported caption": ([added("a.png", caption="a cat")], {"a.png": "a cat"}),
    "a changed caption": ([added("a.png", caption="a cat"), edited("a.png", caption="x")], {"a.png": "x"}),
    "a removed caption": ([added("a.png", caption="a cat"), edited("a.png", caption=None)], {"a.png": None}),
    "another change leaves the caption": (
        [added("a.png", caption="a cat"), edited("a.png", used=False)],
        {"a.png": "a cat"},
    ),
    "the last of two changes": (
        [added("a.png"), edited("a.png", caption="x"), edited("a.png", caption="y")],
        {"a.png": "y"},
    ),
    "its undo": (
        [added("a.png"), edited("a.png", caption="x"), edited("a.png", caption="y"), undone(4)],
        {"a.png": "x"},
    ),
    "the undo of an earlier change leaves the later one": (
        [added("a.png"), edited("a.png", caption="x"), edited("a.png", caption="y"), undone(3)],
        {"a.png": "y"},
    ),
    "the undo of an undo": ([added("a.png"), edited("a.png", caption="x"), undone(3), undone(4)], {"a.png": "x"}),
    "the undo of an undo of an undo": (
        [added("a.png"), edited("a.png", caption="x"), undone(3), undone(4), undone(5)],
        {"a.png": None},
    ),
    "the undo of an import": ([added("a.png"), added("b.png"), undone(2)], {"b.png": None}),
    "an import in several events is one change": (
        [added("a.png"), added("b.png", change=2), added("c.png"), undone(2)],
        {"c.png": None},
    ),
    "changes of a picture whose import was undone come back with it": (
        [added("a.png"), edited("a.png", caption="x"), undone(2), undone(4)],
        {"a.png": "x"},
    ),
    "a picture that is added again is as it was imported": (
        [added("a.png"), edited("a.png", caption="x"), undone(2), added("a.png", caption="new")],
        {"a.png": "new"},
    ),
    "an import that comes back does not replace what was added meanwhile": (
        [added("a.png", caption="1"), undone(2), added("a.png", caption="2"), undone(3)],
        {"a.png": "1"},
    ),
}


@pytest.mark.parametrize(("events", "expected"), FOLDS.values(), ids=FOLDS.keys())
def test_the_fold(events: list[e.AnyEvent], expected: dict[str, str | None]) -> None:
    assert captions(fold([created(), *events])) == expected


def test_crops_and_use_are_folded() -> None:
    dataset = fold([created(), added("a.png", "b.png"), edited("a.png", crop=CROP), edited("b.png", used=False)])
    assert dataset.pictures["a.png"].crop == CROP
    assert [picture.name for picture in dataset.used] == ["a.png"]
    assert fold([created(), added("a.png"), edited("a.png", crop=CROP), undone(3)]).pictures["a.png"].crop is None


def test_revisions_are_those_of_the_last_event_that_concerned_a_picture() -> None:
    dataset = fold([created(), added("a.png", "b.png"), edited("a.png", caption="x"), undone(3)])
    assert {name: picture.revision for name, picture in dataset.pictures.items()} == {"a.png": 4, "b.png": 2}
    assert dataset.revision == 4
    assert [(one.number, one.undone_by) for one in dataset.changes] == [(1, None), (2, None), (3, 4), (4, None)]


IMPOSSIBLE: dict[str, tuple[list[e.AnyEvent], str]] = {
    "nothing": ([], "no events"),
    "no beginning": ([added("a.png")], "does not begin"),
    "two beginnings": ([created(), created()], "created twice"),
    "a change of an unknown picture": ([created(), edited("a.png", used=False)], "before it was added"),
    "an undo of a later change": ([created(), undone(3), added("a.png")], "change 3"),
    "an undo of its beginning": ([created(), undone(1)], "change 1"),
    "an undo of a part of an import": ([created(), added("a.png"), added("b.png", change=2), undone(3)], "change 3"),
    "a part of a change that is no import": (
        [created(), added("a.png"), edited("a.png", used=False), added("b.png", change=3)],
        "is not an import",
    ),
    "two pictures of one name": (
        [created(), added("a.png"), added("A.jpg", sha256="f" * 64)],
        "two different pictures",
    ),
    "a crop outside": (
        [created(), added("a.png"), edited("a.png", crop=Crop(left=600, top=0, width=100, height=9))],
        "not in the picture",
    ),
}


@pytest.mark.parametrize(("events", "said"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_events_that_cannot_follow_one_another(events: list[e.AnyEvent], said: str) -> None:
    with pytest.raises(BadHistory, match=said):
        fold(events)


def test_events_are_lines_that_are_read_back() -> None:
    for event in (
        created(),
        added("a.png", caption="é", notes=("rotated",)),
        edited("a.png", caption=None, crop=CROP),
        edited("a.png", crop=None, used=True),
        undone(2),
    ):
        line = encode(event)
        assert (e.decode(line[:-1]), line.count(b"\n")) == (event, 1)
    assert b"crop" not in encode(edited("a.png", caption=None))


@pytest.mark.parametrize(
    "fields", [{"name": "../a.png"}, {"name": ""}, {"sha256": "x"}, {"sha256": "../" + "0" * 61}, {"width": 0}]
)
def test_a_line_with_a_name_or_a_hash_that_is_no_file_is_refused(fields: dict[str, object]) -> None:
    event = added("a.png")
    (picture,) = event.pictures
    line = encode(msgspec.structs.replace(event, pictures=(msgspec.structs.replace(picture, **fields),)))
    with pytest.raises(msgspec.MsgspecError):
        e.decode(line)


def test_names_are_unique_without_their_ending_and_without_case() -> None:
    taken = {stem_of("cat.png"): "1" * 64}
    assert free_name(stored("cat.jpg"), taken) == "cat-2.jpg"
    assert free_name(stored("CAT.png"), taken) == "CAT-2.png"
    assert free_name(stored("cat.png", sha256="1" * 64), taken) == "cat.png"
    assert free_name(stored("cat.jpg"), taken | {"cat-2": "2" * 64}) == "cat-3.jpg"
    assert free_name(stored("dog.jpg"), taken) == "dog.jpg"
