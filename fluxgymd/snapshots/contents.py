# SPDX-License-Identifier: Apache-2.0
"""The contents of a dataset's folder, judged only by names: the pictures to train on, and what is left out.

Nothing is left out silently: a file that looks like a picture or a caption but is not used gets a note.
"""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fluxgymd.pictures import left_out
from fluxgymd.pictures.files import reason
from fluxgymd.pictures.names import CAPTION, KOHYA_FOLDER, PICTURES, is_picture
from fluxgymd.store.home import JOURNAL

ITSELF = "only the pictures in the dataset's folder itself are used"
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
    notes = [
        *_note_stored(source, names),
        *left_out.note_formats(names),
        *left_out.note_subfolders([picture for found in below.values() for picture in found], advice=ITSELF),
        *left_out.note_captions(left_out.unused_captions(names, caption), caption),
    ]
    return Contents(pictures=pictures, notes=notes)


def _note_stored(source: Path, names: list[str]) -> list[str]:
    if not _is_stored(source, names):
        return []
    name = source.name
    note = f"{source} is the folder of the dataset {name}, whose changes are not in these files; give {name} as the "
    return [f"{note}dataset to train with them."]


def _is_stored(source: Path, names: list[str]) -> bool:
    """Whether the folder is that of a stored dataset, whose pictures are in the store."""
    return source.parent.name == "datasets" and JOURNAL in names


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


def _instead(source: Path, names: list[str], below: dict[str, list[str]]) -> str:
    """If there is no picture to train on: what there is instead, and what to do. The rest of a sentence."""
    if _is_stored(source, names):
        return f"; it is the folder of a stored dataset, so give its name, {source.name}, as the dataset"
    if len(below) == 1:
        (folder,) = below
        return f" itself, but its folder {folder} does; give {source / folder} as the dataset{_with_repeats(folder)}"
    if below:
        listed = [folder + _with_repeats(folder, form=" ({})") for folder in list(below)[:MOST_LISTED]]
        more = f" and {len(below) - MOST_LISTED} more" if len(below) > MOST_LISTED else ""
        return (
            f" itself, but its folders {', '.join(listed)}{more} do; give one of them as the dataset, or several "
            "as parts of the job (--part)"
        )
    others = [name for name in names if is_picture(name)]
    if others:
        return (
            f" in a format that can be trained on, only others such as {others[0]}; convert {left_out.them(others)} "
            "to PNG or JPEG"
        )
    return f"; it needs at least one ({', '.join(PICTURES)})"


def _with_repeats(folder: str, form: str = ", with {}") -> str:
    kohya = KOHYA_FOLDER.match(folder)
    return form.format(f"--repeats {kohya[1]}") if kohya else ""
