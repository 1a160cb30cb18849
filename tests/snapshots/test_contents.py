# SPDX-License-Identifier: Apache-2.0
"""Tests of what a dataset's folder holds, of the notes on files that are left out, and of the advice if the folder
has no picture."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fluxgymd.pictures.names import OTHER_PICTURES
from fluxgymd.snapshots.contents import MOST_LOOKED_AT, Unfit, look

CONVERT = "convert them to PNG or JPEG to train on them."
ITSELF = "only the pictures in the dataset's folder itself are used."
ONCE = ", ".join(f"1_{letter} (--repeats 1)" for letter in "abcde")
SEVERAL = "give one of them as the dataset, or several as parts of the job (--part)."
RIGHT = "a caption has the name of its picture but ends in .txt, e.g. cat.txt for cat.png."


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def make(source: Path, names: Sequence[str]) -> None:
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()


@pytest.mark.parametrize(
    ("names", "notes"),
    [
        (["cat.txt"], []),
        (["._cat.png", ".DS_Store", ".hidden/dog.png", "cat_flux.npz", "movie.mp4", "more/dog.txt"], []),
        (
            ["dog.heic"],
            ["1 picture in another format is left out (dog.heic); convert it to PNG or JPEG to train on it."],
        ),
        # dog.txt gets no note of its own, since its picture is left out.
        (
            ["dog.AVIF", "dog.txt", "fox.CR2"],
            [f"2 pictures in other formats are left out (the first is dog.AVIF); {CONVERT}"],
        ),
        (
            ["b/deep/1.png", "b/2.jxl", "c/notes.txt"],
            [f"2 pictures in subfolders are left out (the first is b/2.jxl); {ITSELF}"],
        ),
        (["dog.txt"], [f"1 caption without a picture is left out (dog.txt); {RIGHT}"]),
        (["Cat.txt", "dog.TXT"], [f"2 captions without a picture are left out (the first is Cat.txt); {RIGHT}"]),
        (
            ["cat.TXT", "cat.caption", "cat.png.txt", "metadata.jsonl"],
            [f"4 caption files with other names are left out (the first is cat.TXT); {RIGHT}"],
        ),
    ],
)
def test_a_note_names_what_is_left_out(source: Path, names: list[str], notes: list[str]) -> None:
    make(source, ["cat.png", *names])
    found = look(source)
    assert found.pictures == [source / "cat.png"]
    assert found.notes == notes


@pytest.mark.parametrize("ending", [".tif", ".NEF", ".psd", ".jfif"])
def test_the_extension_of_another_format_is_recognized_in_any_case(source: Path, ending: str) -> None:
    assert ending.lower() in OTHER_PICTURES
    make(source, ["cat.PNG", f"dog{ending}"])
    assert len(look(source).notes) == 1


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (
            ["10_s1gn sign/a.png"],
            "itself, but its folder 10_s1gn sign does; give {source}/10_s1gn sign as the dataset, with --repeats 10.",
        ),
        (["more/a.png"], "itself, but its folder more does; give {source}/more as the dataset."),
        (
            ["5_b/b.png", "10_a/a.webp", "empty/notes.txt", "more/c.png"],
            f"itself, but its folders 10_a (--repeats 10), 5_b (--repeats 5), more do; {SEVERAL}",
        ),
        (
            [f"1_{letter}/{letter}.png" for letter in "abcdefg"],
            f"itself, but its folders {ONCE} and 2 more do; {SEVERAL}",
        ),
        (
            ["a.heic", "b.heic"],
            "in a format that can be trained on, only others such as a.heic; convert them to PNG or JPEG.",
        ),
        ([], "; it needs at least one (.png, .jpg, .jpeg, .webp, .bmp)."),
    ],
)
def test_if_there_is_no_picture_the_advice_says_what_to_give(source: Path, names: list[str], advice: str) -> None:
    make(source, names)
    with pytest.raises(Unfit) as refused:
        look(source)
    space = "" if advice[0] == ";" else " "
    assert str(refused.value) == f"The dataset {source} contains no pictures{space}{advice.format(source=source)}"
    assert refused.value.path == source


def test_a_linked_folder_counts_and_a_cycle_of_links_ends(source: Path, tmp_path: Path) -> None:
    make(tmp_path / "far", ["a.png"])
    make(source, ["sub/b.png"])
    (source / "10_far").symlink_to(tmp_path / "far")
    (source / "sub" / "circle").symlink_to(source)
    with pytest.raises(Unfit, match=r"its folders 10_far \(--repeats 10\), sub do;"):
        look(source)


def test_a_whole_home_directory_is_not_searched_to_its_end(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_LOOKED_AT > 10_000
    monkeypatch.setattr("fluxgymd.snapshots.contents.MOST_LOOKED_AT", 3)
    make(source, ["a.png", *(f"sub/{number}.png" for number in range(9))])
    assert look(source).notes[0].startswith("3 pictures in subfolders are left out")


def test_the_folder_of_a_stored_dataset_is_not_trained_without_a_word(tmp_path: Path) -> None:
    """A plain folder became a dataset, and keeps the captions of then."""
    source = tmp_path / "datasets/cats"
    make(source, ["events.jsonl"])
    with pytest.raises(Unfit, match="stored dataset, so give its name, cats, as the dataset"):
        look(source)
    make(source, ["a.png"])
    (note,) = look(source).notes
    assert note.startswith(f"{source} is the folder of the dataset cats, whose changes are not in these files; give ")
