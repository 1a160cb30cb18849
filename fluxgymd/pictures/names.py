# SPDX-License-Identifier: Apache-2.0
"""What files are by their names: pictures, captions, masks, and what programs leave behind in folders."""

import itertools
import re
import unicodedata
from collections.abc import Container
from pathlib import PurePosixPath

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

IMPORTED = frozenset(
    (
        *(*PICTURES, ".apng", ".avif", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".mpo"),
        *(".pbm", ".pgm", ".pnm", ".ppm", ".tga", ".tif", ".tiff"),
    )
)
"""The endings that the importer opens. What a file really is, its content says. Raw files of cameras would be opened
as the small preview that they hold, so they are not among these."""
MASK = "_mask.png"
"""NAME_mask.png beside a picture NAME says where it is trained: where the mask is white."""
JUNK = frozenset(("__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini"))
"""What systems leave in folders: previews, and macOS' metadata in archives. In lower case."""
MOST_BYTES = 200
"""Of a picture's stem in a dataset. Names have at most 255, and endings and caches' names are added to it."""


def is_picture(name: str) -> bool:
    """Whether a name is that of a picture, in a format that can be trained on or not."""
    path = PurePosixPath(name)
    ending = path.suffix.lower()
    return path.name[0] != "." and (ending in PICTURES or ending in OTHER_PICTURES)


def is_junk(name: str) -> bool:
    """Whether a file or folder isn't the user's: hidden (macOS' ._cat.png isn't a picture), or left by a system."""
    return name[0] == "." or name.lower() in JUNK


def repeats(folder: str) -> tuple[int, str] | None:
    """The repeats and the class of a folder in sd-scripts' layout, e.g. `10_s1gn sign`; None for another name."""
    found = KOHYA_FOLDER.match(folder)
    return (int(found[1]), folder[found.end() :].strip()) if found and len(found[1]) < 7 else None


def normal(text: str) -> str:
    """The same text in one form: macOS writes an accent as a character of its own."""
    return unicodedata.normalize("NFC", text)


def key(name: str) -> str:
    """Names with equal keys would be one file on some disk, or look the same."""
    return normal(normal(name).casefold())


def stem_in_dataset(name: str) -> str:
    """The stem that a file's picture gets in a dataset: NFC, printable, and not too long for any disk."""
    stem = normal(PurePosixPath(name).stem.encode(errors="surrogateescape").decode(errors="replace"))
    clean = "".join(character if character.isprintable() else "_" for character in stem)
    return clean.encode()[:MOST_BYTES].decode(errors="ignore")


def unique_stem(stem: str, taken: Container[str]) -> str:
    """The stem, or with the first number that makes it differ from those taken (given by their keys)."""
    numbered = (f"{stem}-{number}" for number in itertools.count(2))
    return next(choice for choice in itertools.chain([stem], numbered) if key(choice) not in taken)
