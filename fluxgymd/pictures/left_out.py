# SPDX-License-Identifier: Apache-2.0
"""The notes on what is left out: one sentence for each kind, with the number of files and the first name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fluxgymd.pictures.names import CAPTION, METADATA, OTHER_CAPTIONS, PICTURES, is_picture

RIGHT_CAPTION = "a caption has the name of its picture but ends in {0}, e.g. cat{0} for cat.png"


def note_formats(names: Sequence[str]) -> list[str]:
    others = [name for name in names if is_picture(name) and PurePosixPath(name).suffix.lower() not in PICTURES]
    counted = _left_out(others, "picture in another format is", "pictures in other formats are")
    return [f"{counted}; convert {them(others)} to PNG or JPEG to train on {them(others)}."] if others else []


def note_subfolders(pictures: Sequence[str], *, advice: str) -> list[str]:
    """`advice`: a clause on what is used instead, or what to do."""
    counted = _left_out(pictures, "picture in a subfolder is", "pictures in subfolders are")
    return [f"{counted}; {advice}."] if pictures else []


def note_animated(names: Sequence[str]) -> list[str]:
    """The note on animated pictures. `names`: theirs, from a caller that has opened the pictures."""
    counted = _left_out(
        names,
        "picture is animated: all frames but the first are",
        "pictures are animated: all frames but the first are",
    )
    return [f"{counted}."] if names else []


@dataclass(frozen=True, slots=True)
class UnusedCaptions:
    """The captions of a folder, or of several, that no picture uses. A caption of a picture in another format is not
    among them, since the picture has a note."""

    misnamed: list[str]
    orphans: list[str]


def unused_captions(names: Sequence[str], caption: str) -> UnusedCaptions:
    """The unused captions among the names in one folder."""
    pictures = {name for name in names if is_picture(name)}
    stems = {PurePosixPath(name).stem for name in pictures}
    unused = UnusedCaptions([], [])
    for name in names:
        stem, ending = PurePosixPath(name).stem, PurePosixPath(name).suffix
        if name.endswith(caption) and name.removesuffix(caption) in stems:
            continue
        looks_like_one = ending.lower() in OTHER_CAPTIONS | {CAPTION, caption}
        if name in METADATA or (looks_like_one and (stem in stems or stem in pictures)):
            unused.misnamed.append(name)
        elif looks_like_one:
            unused.orphans.append(name)
    return unused


def note_captions(unused: UnusedCaptions, caption: str) -> list[str]:
    notes = [
        _left_out(unused.misnamed, "caption file with another name is", "caption files with other names are"),
        _left_out(unused.orphans, "caption without a picture is", "captions without a picture are"),
    ]
    return [f"{note}; {RIGHT_CAPTION.format(caption)}." for note in notes if note]


def _left_out(files: Sequence[str], one: str, many: str) -> str:
    """How many files are left out, and the first; empty if there are none."""
    match files:
        case []:
            return ""
        case [only]:
            return f"1 {one} left out ({only})"
        case _:
            return f"{len(files)} {many} left out (the first is {files[0]})"


def them(files: Sequence[str]) -> str:
    return "it" if len(files) == 1 else "them"
