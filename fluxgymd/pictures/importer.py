# SPDX-License-Identifier: Apache-2.0
"""Imports the pictures of a folder, a ZIP archive or a single file, in a program of its own:

    python -P -m fluxgymd.pictures.importer SOURCE STORE

It reads Wishes from stdin and prints lines (fluxgymd/pictures/lines.py), each picture once it is durable in STORE.
The source is never changed, and a bad file does not affect the others. The status is 0 if the last line is Done, else
1.
"""

import os
import sys
import zipfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path

import msgspec
import pillow_heif

from fluxgymd.failpoints import failpoint
from fluxgymd.pictures import archive, folder, names
from fluxgymd.pictures.entries import Listing, Unlistable
from fluxgymd.pictures.files import printable, reason
from fluxgymd.pictures.grouping import Groups, group
from fluxgymd.pictures.lines import (
    AnyLine,
    Done,
    Duplicate,
    ImportedPicture,
    ImportFailed,
    Note,
    RejectedFile,
    Wishes,
)
from fluxgymd.pictures.placing import Incoming, NotPlaced
from fluxgymd.pictures.taking import StoredFile, Taken, take

MOST_THREADS = 4
"""Pillow and the disk work without the interpreter's lock."""
ZIP = b"PK\x03\x04"


def lines(source: Path, store: Path, wishes: Wishes) -> Iterator[AnyLine]:
    """The lines of an import, the last of which is Done or ImportFailed."""
    try:
        listing, opened = _list(source, wishes)
        with opened, Incoming(store) as incoming:
            yield from _import(source, group(listing, wishes), incoming, wishes)
    except Unlistable as error:
        yield ImportFailed(sentence=printable(error))
    except NotPlaced as error:
        yield ImportFailed(sentence=printable(error), storage=True)


def _list(source: Path, wishes: Wishes) -> tuple[Listing, closing[zipfile.ZipFile] | nullcontext[None]]:
    """The files of the source, and what closes it. Raises Unlistable."""
    try:
        if source.is_dir():
            return folder.list_folder(source), nullcontext()
        if source.is_file() and _begins(source, ZIP):
            opened, listing = archive.open_archive(source)
            return listing, closing(opened)
    except OSError as error:
        raise Unlistable(f"{source} cannot be read: {reason(error)}.") from None
    return folder.list_picture(source, wishes.caption_ending), nullcontext()


def _begins(path: Path, signature: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(signature)) == signature


def _import(source: Path, groups: Groups, incoming: Incoming, wishes: Wishes) -> Iterator[AnyLine]:
    for note in groups.notes:
        yield Note(sentence=printable(note))
    yield from groups.problems
    if not groups.candidates and not groups.problems:
        sentence = printable(f"{source} contains no pictures ({', '.join(sorted(names.IMPORTED))}).")
        yield ImportFailed(sentence=sentence, empty=True)
        return
    result = _Result()
    pictures = duplicates = 0
    problems = len(groups.problems)
    for taken in _taken(groups, incoming, wishes):
        for line in result.lines(taken):
            pictures += isinstance(line, ImportedPicture)
            duplicates += isinstance(line, Duplicate)
            problems += isinstance(line, RejectedFile)
            yield line
    yield Done(pictures=pictures, duplicates=duplicates, problems=problems)


def _taken(groups: Groups, incoming: Incoming, wishes: Wishes) -> Iterator[Taken]:
    """All candidates in their order, a few at a time. After Refused, no other one is begun."""
    known = frozenset(wishes.known)
    threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
    waiting: deque[Future[Taken]] = deque()
    with ThreadPoolExecutor(threads) as executor:
        try:
            for candidate in groups.candidates:
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
                waiting.append(
                    executor.submit(take, candidate, incoming, known=known, most_megapixels=wishes.most_megapixels)
                )
            while waiting:
                yield waiting.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)


class _Result:
    """What has been imported so far, to which the next file is compared."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str | None]] = {}
        """SHA-256 of a user's file -> the path and the caption of the first with it."""
        self._stems: set[str] = set()

    def lines(self, taken: Taken) -> Iterator[AnyLine]:
        path = printable(taken.candidate.picture.path)
        yield from taken.problems
        if taken.source is None:
            return
        if taken.source in self._first:
            first, caption = self._first[taken.source]
            yield Duplicate(path=path, source=taken.source, of=first)
            if taken.stored is not None and taken.stored.caption not in (None, caption):
                yield Note(sentence=f"{path} is the same picture as {first}, whose caption is kept; its own is not.")
        elif taken.stored is not None:
            self._first[taken.source] = path, taken.stored.caption
            yield self._picture(path, taken.source, taken, taken.stored)
        elif not taken.problems:
            yield Duplicate(path=path, source=taken.source)

    def _picture(self, path: str, source: str, taken: Taken, stored: StoredFile) -> ImportedPicture:
        wanted = names.stem_in_dataset(taken.candidate.picture.name)
        stem = names.unique_stem(wanted, self._stems)
        self._stems.add(names.key(stem))
        converted = stored.converted
        notes = [f"It is called {stem} here, since another picture is called {wanted}."] if stem != wanted else []
        return ImportedPicture(
            path=path,
            name=stem + converted.ending,
            sha256=stored.sha256,
            source=source,
            width=converted.width,
            height=converted.height,
            size=len(converted.data),
            caption=stored.caption,
            mask=stored.mask,
            repeats=taken.candidate.repeats,
            class_tokens=printable(taken.candidate.class_tokens) if taken.candidate.class_tokens else None,
            difference_hash=converted.difference_hash,
            sharpness=round(converted.sharpness, 1),
            notes=(*stored.notes, *notes),
        )


def main() -> None:
    source, store = Path(sys.argv[1]), Path(sys.argv[2])
    wishes = msgspec.json.decode(sys.stdin.buffer.read() or b"{}", type=Wishes)
    pillow_heif.register_heif_opener()
    line: AnyLine | None = None
    for line in lines(source, store, wishes):
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stdout.buffer.flush()
        failpoint("import.printed")
    sys.exit(0 if isinstance(line, Done) else 1)


if __name__ == "__main__":
    main()
