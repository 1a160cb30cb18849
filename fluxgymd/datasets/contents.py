# SPDX-License-Identifier: Apache-2.0
"""The contents of a dataset's folder, judged only by names: the pictures to train on, and what is left out.

Nothing is left out silently: a file that looks like a picture or a caption but is not used gets a note.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxgymd.pictures.files import reason

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""The endings that sd-scripts accepts, also in upper case."""
CAPTION = ".txt"
"""The ending of a caption's name unless the job sets another; the trainer looks for it in lower case only."""

OTHER_PICTURES = frozenset(
    (
        *(".avif", ".gif", ".heic", ".heif", ".hif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jxl", ".jxr", ".mpo"),
        *(".pbm", ".pgm", ".pnm", ".ppm", ".apng", ".qoi", ".svg", ".tga", ".tif", ".tiff", ".exr", ".hdr", ".dds"),
        *(".psd", ".psb", ".xcf", ".kra", ".clip", ".afphoto"),
        # What cameras write.
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos"),
        *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    )
)
OTHER_CAPTIONS = frozenset((".caption", ".captions", ".cap", ".tags", ".text"))
METADATA = frozenset(("metadata.jsonl", "metadata.csv", "meta_cap.json", "meta_lat.json", "meta_clean.json"))
"""Files in which other programs keep the captions of an entire folder."""

KOHYA_FOLDER = re.compile(r"([1-9]\d*)_")
"""sd-scripts' own layout: the folder's name says how often its pictures are repeated in an epoch."""
MOST_LISTED = 5
MOST_LOOKED_AT = 100_000
"""Names below a dataset: an entire home directory must not be searched to the end for the sake of a note."""


class Unfit(Exception):
    """The dataset cannot be trained on. The message is a sentence for the user."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(problem)
        self.path = path


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The pictures, sorted by name, and sentences about what is left out."""

    pictures: list[Path]
    notes: list[str]


def look(source: Path, *, caption: str = CAPTION) -> Contents:
    """The contents of a folder. Unfit if it cannot be trained on. `caption`: the ending of the captions' names."""
    names = _names(source)
    pictures = [source / name for name in names if Path(name).suffix.lower() in PICTURES]
    below = _pictures_below(source, names)
    if not pictures:
        raise Unfit(source, f"The dataset {source} contains no pictures{_instead(source, names, below)}.")
    _refuse_twins(pictures)
    notes = [*_note_formats(names), *_note_subfolders(below), *_note_captions(names, caption)]
    return Contents(pictures=pictures, notes=notes)


def picture_names(folder: Path) -> list[str]:
    """The sorted names of the pictures that can be trained on; empty if there is no such folder. OSError if it cannot
    be read."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if name[0] != "." and Path(name).suffix.lower() in PICTURES)


def hash_of(names: Iterable[str]) -> str:
    """A hash that changes if a name is added, removed or changed."""
    return hashlib.blake2b(b"\0".join(os.fsencode(name) for name in sorted(names)), digest_size=16).hexdigest()


def _names(source: Path) -> list[str]:
    """All names but the hidden ones, which don't belong to a dataset (macOS' ._cat.png isn't a picture)."""
    try:
        return sorted(name for name in os.listdir(source) if name[0] != ".")
    except FileNotFoundError:
        raise Unfit(source, f"The folder {source} does not exist; give the folder with the pictures.") from None
    except NotADirectoryError:
        raise Unfit(source, f"The dataset {source} is not a folder; give the folder with the pictures.") from None
    except OSError as error:
        raise Unfit(source, f"The dataset {source} cannot be read: {reason(error)}.") from None


def _refuse_twins(pictures: list[Path]) -> None:
    stems: dict[str, Path] = {}
    for picture in pictures:
        other = stems.setdefault(picture.stem, picture)
        if other is not picture:
            # Both would share one caption and one cache file.
            raise Unfit(picture, f"The pictures {other.name} and {picture.name} have the same name; rename one.")


# -- subfolders --------------------------------------------------------------------------------------------------


def _pictures_below(source: Path, names: list[str]) -> dict[str, list[str]]:
    """Subfolder -> the pictures at any depth below it, relative to the source. Links deeper down are not followed."""
    found = {}
    walk = itertools.islice(_walk(source, names), MOST_LOOKED_AT)
    for subfolder, files in itertools.groupby(walk, key=lambda file: Path(file).parts[0]):
        pictures = [file for file in files if is_picture(file)]
        if pictures:
            found[subfolder] = pictures
    return found


def _walk(source: Path, names: list[str]) -> Iterator[str]:
    for name in names:
        for folder, subfolders, files in os.walk(source / name):  # nothing for a file
            subfolders[:] = sorted(subfolder for subfolder in subfolders if subfolder[0] != ".")
            yield from (os.path.relpath(os.path.join(folder, file), source) for file in sorted(files))


def is_picture(name: str) -> bool:
    """Whether a name is that of a picture, in a format that can be trained on or not."""
    path = Path(name)
    ending = path.suffix.lower()
    return path.name[0] != "." and (ending in PICTURES or ending in OTHER_PICTURES)


def _instead(source: Path, names: list[str], below: dict[str, list[str]]) -> str:
    """If there is no picture to train on: what there is instead, and what to do. The rest of a sentence."""
    if len(below) == 1:
        (folder,) = below
        return f" itself, but its folder {folder} does; give {source / folder} as the dataset{_with_repeats(folder)}"
    if below:
        listed = [folder + _with_repeats(folder, form=" ({})") for folder in list(below)[:MOST_LISTED]]
        more = f" and {len(below) - MOST_LISTED} more" if len(below) > MOST_LISTED else ""
        return (
            f" itself, but its folders {', '.join(listed)}{more} do; a job takes only one folder, so give one of "
            "them, or move the pictures into one"
        )
    others = [name for name in names if is_picture(name)]
    if others:
        return (
            f" in a format that can be trained on, only others such as {others[0]}; convert {_them(others)} to PNG "
            "or JPEG"
        )
    return f"; it needs at least one ({', '.join(PICTURES)})"


def _with_repeats(folder: str, form: str = ", with {}") -> str:
    kohya = KOHYA_FOLDER.match(folder)
    return form.format(f"--repeats {kohya[1]}") if kohya else ""


# -- notes -------------------------------------------------------------------------------------------------------

RIGHT_CAPTION = "a caption has the name of its picture but ends in {0}, e.g. cat{0} for cat.png"


def _note_formats(names: list[str]) -> list[str]:
    others = [name for name in names if is_picture(name) and Path(name).suffix.lower() not in PICTURES]
    counted = _left_out(others, "picture in another format is", "pictures in other formats are")
    return [f"{counted}; convert {_them(others)} to PNG or JPEG to train on {_them(others)}."] if others else []


def _note_subfolders(below: dict[str, list[str]]) -> list[str]:
    pictures = [picture for found in below.values() for picture in found]
    counted = _left_out(pictures, "picture in a subfolder is", "pictures in subfolders are")
    return [f"{counted}; only the pictures in the dataset's folder itself are used."] if pictures else []


def note_animated(names: list[str]) -> list[str]:
    """The note on animated pictures. `names`: theirs, from a caller that has opened the pictures."""
    counted = _left_out(
        names,
        "picture is animated: all frames but the first are",
        "pictures are animated: all frames but the first are",
    )
    return [f"{counted}."] if names else []


def _note_captions(names: list[str], caption: str) -> list[str]:
    """The notes on captions. A caption of a picture in another format gets none, since the picture has one."""
    pictures = {name for name in names if is_picture(name)}
    stems = {Path(name).stem for name in pictures}
    misnamed, orphans = [], []
    for name in names:
        stem, ending = Path(name).stem, Path(name).suffix
        if name.endswith(caption) and name.removesuffix(caption) in stems:
            continue
        looks_like_one = ending.lower() in OTHER_CAPTIONS | {CAPTION, caption}
        if name in METADATA or (looks_like_one and (stem in stems or stem in pictures)):
            misnamed.append(name)
        elif looks_like_one:
            orphans.append(name)
    notes = [
        _left_out(misnamed, "caption file with another name is", "caption files with other names are"),
        _left_out(orphans, "caption without a picture is", "captions without a picture are"),
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


def _them(files: Sequence[str]) -> str:
    return "it" if len(files) == 1 else "them"
