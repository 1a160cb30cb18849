# SPDX-License-Identifier: Apache-2.0
"""Brings one picture with its caption and mask into the store, or says why it can't."""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass

from fluxgymd.pictures import captions, converting
from fluxgymd.pictures.captions import Undecodable
from fluxgymd.pictures.converting import Converted
from fluxgymd.pictures.entries import MOST_BYTES, SourceFile
from fluxgymd.pictures.files import printable, reason
from fluxgymd.pictures.grouping import Candidate, problem
from fluxgymd.pictures.lines import RejectedFile
from fluxgymd.pictures.placing import Incoming
from fluxgymd.pictures.reading import INSTEAD, Unreadable

MASK_ENDING = ".png"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A picture that is durable in the store."""

    sha256: str
    converted: Converted
    mask: str | None
    caption: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What happened to a candidate. Without `stored`, it was either known already, or the last of the problems is its
    own."""

    candidate: Candidate
    source: str | None
    """SHA-256 of the user's file; None if it couldn't be read."""
    stored: StoredFile | None
    problems: tuple[RejectedFile, ...]


def take(candidate: Candidate, incoming: Incoming, *, known: frozenset[str], most_megapixels: float) -> Taken:
    """Reads, converts and stores. `known`: SHA-256 of files that are not stored again. Raises placing.Refused."""
    source = None
    problems: list[RejectedFile] = []
    notes: list[str] = []
    stored = None
    try:
        data = _read(candidate.picture)
        source = hashlib.sha256(data).hexdigest()
        if source not in known:
            converted = converting.convert(data, most_megapixels=most_megapixels)
            caption = _caption(candidate.caption, problems, notes)
            mask = _mask(candidate.mask, converted, problems)
            sha256 = _place(incoming, converted.data, converted.ending)
            stored = StoredFile(
                sha256=sha256,
                converted=converted,
                mask=_place(incoming, mask, MASK_ENDING) if mask else None,
                caption=caption,
                notes=(*converted.notes, *notes),
            )
    except Unreadable as error:
        problems.append(problem(candidate.picture, str(error)))
    return Taken(candidate=candidate, source=source, stored=stored, problems=tuple(problems))


def _read(entry: SourceFile) -> bytes:
    """The bytes of a file. Raises Unreadable."""
    if entry.refused is not None:
        raise Unreadable(entry.refused)
    try:
        with entry.open() as file:
            data = file.read(MOST_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise Unreadable(f"is damaged in the archive; {INSTEAD}") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {reason(error)}") from None
    except MemoryError:
        raise Unreadable("does not fit into this machine's memory") from None
    if len(data) > MOST_BYTES:
        raise Unreadable(f"has more than {MOST_BYTES >> 20} MB")
    return data


def _caption(entry: SourceFile | None, problems: list[RejectedFile], notes: list[str]) -> str | None:
    """The text of a caption. What is wrong with it is added to the problems, what was guessed to the notes."""
    if entry is None:
        return None
    try:
        caption = captions.decode(_read(entry))
    except (Unreadable, Undecodable) as error:
        problems.append(problem(entry, f"{error}. Its picture was imported without a caption"))
        return None
    if caption.encoding is not None:
        notes.append(f"Its caption {printable(entry.name)} was read as {caption.encoding}; check that it is right.")
    return caption.text


def _mask(entry: SourceFile | None, converted: Converted, problems: list[RejectedFile]) -> bytes | None:
    """The mask in a file, which takes precedence, or that which the picture's alpha is."""
    if entry is None:
        return converted.mask
    try:
        return converting.read_mask(_read(entry), width=converted.width, height=converted.height)
    except Unreadable as error:
        problems.append(problem(entry, f"{error}. Its picture was imported without this mask"))
        return converted.mask


def _place(incoming: Incoming, data: bytes, ending: str) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    incoming.place(data, sha256, ending)
    return sha256
