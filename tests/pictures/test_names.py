# SPDX-License-Identifier: Apache-2.0
"""Tests of names: which ones are the user's, and what a picture is called in a dataset."""

import os

import pytest

from fluxgymd.pictures import names


@pytest.mark.parametrize(
    ("name", "junk"),
    [("._a.png", True), ("Thumbs.db", True), ("__MACOSX", True), ("@eaDir", True), ("a.png", False), ("_a", False)],
)
def test_leftovers_of_systems_are_known(name: str, junk: bool) -> None:
    assert names.is_junk(name) is junk


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("10_s1gn sign", (10, "s1gn sign")),
        ("1_", (1, "")),
        ("0_x", None),
        ("x_10", None),
        ("10 x", None),
        ("20240101_holiday", None),  # a date
    ],
)
def test_repeats_are_at_the_beginning_of_a_folders_name(folder: str, expected: tuple[int, str] | None) -> None:
    assert names.repeats(folder) == expected


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("e\u0301.png", "\u00e9"),
        (os.fsdecode(b"caf\xe9.png"), "caf\ufffd"),
        ("a\nb\x7f.png", "a_b_"),
        ("猫" * 100 + ".png", "猫" * 66),
        ("it's.tar.png", "it's.tar"),
    ],
)
def test_a_stem_can_be_shown_and_written_anywhere(name: str, stem: str) -> None:
    assert names.stem_in_dataset(name) == stem


def test_stems_differ_in_more_than_case_and_form() -> None:
    taken = {names.key("Cat"), names.key("cat-2"), names.key("\u00e9")}
    assert [names.unique_stem(stem, taken) for stem in ("cat", "e\u0301", "dog")] == ["cat-3", "e\u0301-2", "dog"]
