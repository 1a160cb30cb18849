# SPDX-License-Identifier: Apache-2.0
"""Tests of which caption and mask belong to a picture, and of what is left out."""

from typing import BinaryIO

import pytest

from fluxgymd.pictures.entries import Listing, SourceFile
from fluxgymd.pictures.grouping import Groups, group
from fluxgymd.pictures.lines import Wishes

RIGHT = "a caption has the name of its picture but ends in .txt, e.g. cat.txt for cat.png."
NFC, NFD = "\u00e9", "e\u0301"


def never() -> BinaryIO:
    raise AssertionError("only names are looked at")


def grouped(*paths: str, title: str = "pictures", subfolders: bool = False, caption_ending: str = ".txt") -> Groups:
    entries = [SourceFile(path=path, open=never) for path in sorted(paths)]
    wishes = Wishes(subfolders=subfolders, caption_ending=caption_ending)
    return group(Listing(entries=entries, title=title, notes=[]), wishes)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a.png", "a.txt"], {"a.png": "a.txt"}),
        (["a.png", "a.TXT"], {"a.png": "a.TXT"}),
        (["a.png", "a.jpg", "a.txt"], {"a.png": "a.txt", "a.jpg": "a.txt"}),
        ([f"{NFC}.png", f"{NFD}.txt"], {f"{NFC}.png": f"{NFD}.txt"}),
        (
            [f"{NFC}.png", f"{NFC}.txt", f"{NFD}.png", f"{NFD}.txt"],
            {f"{NFC}.png": f"{NFC}.txt", f"{NFD}.png": f"{NFD}.txt"},
        ),
        (["IMG_1.JPG", "img_1.txt"], {"IMG_1.JPG": "img_1.txt"}),
        (["A.png", "a.png", "a.txt"], {"A.png": None, "a.png": "a.txt"}),
        (["a.png", "b.txt"], {"a.png": None}),
        (["a.b.png", "a.b.txt", "a.txt"], {"a.b.png": "a.b.txt"}),
    ],
)
def test_a_caption_belongs_to_the_picture_of_its_name(names: list[str], found: dict[str, str | None]) -> None:
    candidates = grouped(*names).candidates
    assert {one.picture.name: one.caption and one.caption.name for one in candidates} == found


def test_captions_may_end_otherwise() -> None:
    groups = grouped("a.png", "a.caption", "a.txt", caption_ending=".caption")
    (candidate,) = groups.candidates
    assert candidate.caption is not None
    assert candidate.caption.name == "a.caption"
    assert groups.notes == [
        (
            "1 caption file with another name is left out (a.txt); a caption has the name of its picture but ends in "
            ".caption, e.g. cat.caption for cat.png."
        )
    ]


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (["a.jpg", "a_mask.png"], {"a.jpg": "a_mask.png"}),
        ([f"{NFC}.jpg", f"{NFD}_mask.png"], {f"{NFC}.jpg": f"{NFD}_mask.png"}),
        (["a_mask.png"], {"a_mask.png": None}),
        (["a.jpg", "a_mask.jpg"], {"a.jpg": None, "a_mask.jpg": None}),
        (["a.jpg", "sub/a_mask.png"], {"a.jpg": None, "a_mask.png": None}),
    ],
)
def test_a_mask_needs_its_picture(names: list[str], masks: dict[str, str | None]) -> None:
    candidates = grouped(*names, subfolders=True).candidates
    assert {one.picture.name: one.mask and one.mask.name for one in candidates} == masks


@pytest.mark.parametrize(
    ("paths", "notes"),
    [
        (["a.txt"], []),
        (["10_x/a.png", "10_x/a.txt"], []),
        (["b.txt", "10_x/c.txt"], [f"2 captions without a picture are left out (the first is 10_x/c.txt); {RIGHT}"]),
        (["a.caption"], [f"1 caption file with another name is left out (a.caption); {RIGHT}"]),
        (
            ["more/b.heic"],
            ["1 picture in a subfolder is left out (more/b.heic); ask for subfolders to import them too."],
        ),
        (["movie.mp4", "a.npz", "10_x/deep.md"], []),
    ],
)
def test_a_note_names_what_is_left_out(paths: list[str], notes: list[str]) -> None:
    assert grouped("a.png", *paths).notes == notes


def test_repeats_come_from_the_nearest_folder() -> None:
    groups = grouped("5_a/1.png", "5_a/more/2.png", "more/7_b c/3.png", "4.png", title="2_d", subfolders=True)
    assert [(one.picture.name, one.repeats, one.class_tokens) for one in groups.candidates] == [
        ("4.png", 2, "d"),
        ("1.png", 5, "a"),
        ("2.png", None, None),
        ("3.png", 7, "b c"),
    ]


def test_a_format_that_is_not_imported_is_a_problem() -> None:
    (problem,) = grouped("a.png", "b.PSD").problems
    assert problem.sentence == "b.PSD has a format that FluxGym does not import (.psd); convert it to PNG or JPEG."
