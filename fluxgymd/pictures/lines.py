# SPDX-License-Identifier: Apache-2.0
"""What the importer prints: one JSON object per line, in the order of the pictures' paths.

The importer (`python -P -m fluxgymd.pictures.importer SOURCE STORE`) decodes the user's files, so it runs as a child
process with limits, and the daemon reads these lines. An ImportedPicture is printed once its file is durable in the
store.
"""

import msgspec


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", tag_field="line"):
    """The base of all lines. Paths are relative to the source, and printable (U+FFFD for bytes that aren't UTF-8)."""


class ImportedPicture(Line, frozen=True, kw_only=True, omit_defaults=True, rename="camel", tag="picture"):
    """A picture that the store now holds."""

    path: str
    name: str
    """The name that it should have in a dataset: in Unicode's NFC, without folders, with the ending of its format. No
    two stems of an import differ only in case or Unicode form (names.key); names.unique_stem does the same for those
    that the dataset already has."""
    sha256: str
    """Of the bytes in the store, in hex; with the ending of `name` it is the file's name there."""
    source: str
    """SHA-256 of the user's file. Equal to `sha256` unless the picture was converted."""
    width: int
    height: int
    size: int
    """Bytes in the store."""
    caption: str | None = None
    """As UTF-8, with its line breaks; None if there is no caption file."""
    mask: str | None = None
    """SHA-256 of the mask in the store (a greyscale PNG of the same size); None if there is none."""
    repeats: int | None = None
    """What the folder's name says, in Kohya's layout (`10_name class`)."""
    class_tokens: str | None = None
    difference_hash: str
    """dhash of 128 bits, in hex. Pictures whose hashes differ in a few bits look alike."""
    sharpness: float
    """The variance of the Laplacian of the picture, scaled to 512 pixels. A blurred photo has less than about 100."""
    notes: tuple[str, ...] = ()
    """Sentences about what was changed on the way: converted, rotated, scaled down, first frame only."""


class Duplicate(Line, frozen=True, kw_only=True, omit_defaults=True, rename="camel", tag="duplicate"):
    """A file with the bytes of an earlier one, or of one that the dataset already has. It is not stored again."""

    path: str
    source: str
    of: str | None = None
    """The path of the earlier file; None if it is one of the dataset's own."""


class RejectedFile(Line, frozen=True, kw_only=True, omit_defaults=True, rename="camel", tag="problem"):
    """A file that was left out although it looks like a picture or a caption. The others are not affected."""

    path: str
    sentence: str


class Note(Line, frozen=True, kw_only=True, omit_defaults=True, rename="camel", tag="note"):
    """Something that the user should know, about several files or the source as a whole."""

    sentence: str


class ImportFailed(Line, frozen=True, kw_only=True, omit_defaults=True, rename="camel", tag="failed"):
    """The import ended here. The pictures printed so far are in the store."""

    sentence: str
    storage: bool = False
    """The problem is with the disk of the store (full, read-only), not with the source."""
    empty: bool = False
    """The source was read to its end, and nothing in it looks like a picture."""


class Done(Line, frozen=True, kw_only=True, omit_defaults=True, rename="camel", tag="done"):
    """The last line of an import that reached the end of its source."""

    pictures: int
    duplicates: int
    problems: int


AnyLine = ImportedPicture | Duplicate | RejectedFile | Note | ImportFailed | Done


class Wishes(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How to import; the importer reads it from stdin as JSON."""

    subfolders: bool = False
    """Whether pictures in subfolders are taken too. Kohya's `10_name class` folders always are."""
    caption_ending: str = ".txt"
    most_megapixels: float = 50.0
    """A larger picture is scaled down, and a note says so."""
    known: tuple[str, ...] = ()
    """SHA-256 of the user's files (`ImportedPicture.source`) that the dataset already has."""
