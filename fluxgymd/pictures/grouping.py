# SPDX-License-Identifier: Apache-2.0
"""Finds for each picture of a source its caption, its mask and its repeats, judged only by names."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from fluxgymd.pictures import left_out
from fluxgymd.pictures.entries import Listing, SourceFile
from fluxgymd.pictures.files import printable
from fluxgymd.pictures.left_out import UnusedCaptions
from fluxgymd.pictures.lines import RejectedFile, Wishes
from fluxgymd.pictures.names import IMPORTED, MASK, is_picture, key, normal, repeats

SUBFOLDERS = "ask for subfolders to import them too"


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A file that should be a picture, with what belongs to it."""

    picture: SourceFile
    caption: SourceFile | None = None
    mask: SourceFile | None = None
    repeats: int | None = None
    class_tokens: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    candidates: list[Candidate] = field(default_factory=list)
    """In the order of their paths."""
    problems: list[RejectedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def group(listing: Listing, wishes: Wishes) -> Groups:
    """What to import. A file that must not be opened is a problem if it would have been imported."""
    groups = Groups()
    folders: defaultdict[str, list[SourceFile]] = defaultdict(list)
    elsewhere = []
    for entry in listing.entries:
        taken = _is_taken(entry.folder, wishes)
        if entry.suspicious or (taken and not entry.name):
            groups.problems.append(problem(entry, f"{entry.refused}"))
        elif taken:
            folders[entry.folder].append(entry)
        elif _ending(entry) in IMPORTED:
            elsewhere.append(printable(entry.path))
    unused = UnusedCaptions([], [])
    for folder, entries in folders.items():
        kohya = repeats(folder.rpartition("/")[2] if folder else listing.title)
        _group_folder(entries, kohya, wishes.caption_ending, groups, unused)
    groups.notes.extend(listing.notes)
    groups.notes.extend(left_out.note_subfolders(elsewhere, advice=SUBFOLDERS))
    groups.notes.extend(left_out.note_captions(unused, wishes.caption_ending))
    groups.candidates.sort(key=lambda candidate: candidate.picture.path)
    return groups


def problem(entry: SourceFile, words: str) -> RejectedFile:
    """`words`: what follows the name of the file."""
    path = printable(entry.path)
    return RejectedFile(path=path, sentence=f"{path} {printable(words)}.")


def _is_taken(folder: str, wishes: Wishes) -> bool:
    """Whether the pictures in a folder are imported."""
    return not folder or wishes.subfolders or ("/" not in folder and repeats(folder) is not None)


def _group_folder(
    entries: Sequence[SourceFile], kohya: tuple[int, str] | None, ending: str, groups: Groups, unused: UnusedCaptions
) -> None:
    """Adds the files in one folder to `groups`, and its captions without a picture to `unused`."""
    pictures = [entry for entry in entries if _ending(entry) in IMPORTED]
    stems = {normal(_stem(entry)) for entry in pictures}
    masks = {normal(entry.name): entry for entry in pictures if _is_mask(entry, stems)}
    captions = _Captions([entry for entry in entries if entry.name.lower().endswith(ending.lower())], ending)
    alike = Counter(key(stem) for stem in stems)
    for entry in entries:
        if _ending(entry) in IMPORTED and normal(entry.name) not in masks:
            if entry.refused:
                groups.problems.append(problem(entry, entry.refused))
                continue
            stem = _stem(entry)
            groups.candidates.append(
                Candidate(
                    picture=entry,
                    caption=captions.of(stem, alone=alike[key(stem)] == 1),
                    mask=masks.get(normal(stem + MASK)),
                    repeats=kohya[0] if kohya else None,
                    class_tokens=kohya[1] or None if kohya else None,
                )
            )
        elif is_picture(entry.name) and _ending(entry) not in IMPORTED:
            words = f"has a format that FluxGym does not import ({_ending(entry)}); convert it to PNG or JPEG"
            groups.problems.append(problem(entry, words))
    found = left_out.unused_captions([entry.name for entry in entries if entry.path not in captions.used], ending)
    beginning = entries[0].path.removesuffix(entries[0].name)
    unused.misnamed.extend(printable(beginning + name) for name in found.misnamed)
    unused.orphans.extend(printable(beginning + name) for name in found.orphans)


class _Captions:
    """The captions in a folder, found by the stem of a picture: the same name, or in another Unicode form, or, if
    only one picture can be meant, in other case."""

    def __init__(self, entries: Sequence[SourceFile], ending: str) -> None:
        self.used: set[str] = set()
        """The paths of those that were found."""
        stems = [(entry.name[: -len(ending)], entry) for entry in entries]
        self._exact = dict(stems)
        self._normal = {normal(stem): entry for stem, entry in stems}
        self._key = {key(stem): entry for stem, entry in stems}

    def of(self, stem: str, *, alone: bool) -> SourceFile | None:
        found = self._exact.get(stem) or self._normal.get(normal(stem))
        if found is None and alone:
            found = self._key.get(key(stem))
        if found is not None:
            self.used.add(found.path)
        return found


def _is_mask(entry: SourceFile, stems: set[str]) -> bool:
    name = normal(entry.name)
    return name.endswith(MASK) and name.removesuffix(MASK) in stems


def _ending(entry: SourceFile) -> str:
    return PurePosixPath(entry.name).suffix.lower()


def _stem(entry: SourceFile) -> str:
    return PurePosixPath(entry.name).stem
