# SPDX-License-Identifier: Apache-2.0
"""Copies the pictures and captions of a dataset into a job's home, and opens each picture before it is accepted.

It runs as a separate program, `python -P -m fluxgymd.snapshots.snapshot SOURCE TARGET CAPTIONS [SHARED]`, where
CAPTIONS is a captions.Captions as JSON, and SHARED the folder of the pictures that jobs share: a picture that makes a
decoder crash or fill the memory does so in this process, not in the daemon. Prints its outcome as one line of JSON.
"""

import errno
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from fluxgymd.failpoints import failpoint
from fluxgymd.pictures import left_out
from fluxgymd.pictures.files import not_a_file, printable, reason
from fluxgymd.snapshots import captions, contents, picture
from fluxgymd.snapshots.captions import Captions, Lines
from fluxgymd.snapshots.contents import Unfit
from fluxgymd.store.atomic import sync_folder
from fluxgymd.store.caches import shared_pictures

MOST_CAPTION = 1 << 20
"""Bytes. The text encoders read a few hundred words."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The outcome. Either `problem` is set, about `path`, or the copy is complete and durable."""

    pictures: int = 0
    names: str = ""
    """The hash of the pictures' names (contents.hash_of)."""
    without_caption: int = 0
    rewritten: int = 0
    """Captions whose copies differ from the user's."""
    size: int = 0
    """Bytes written."""
    notes: tuple[str, ...] = ()
    """Sentences about what is left out."""
    path: str | None = None
    problem: str | None = None
    storage: bool = False
    """The problem is with the disk that was written to, not with the dataset."""
    errno: int | None = None
    """That of a storage problem (errno(3))."""


def take(source: Path, target: Path, how: Captions, shared: Path | None = None) -> Snapshot:
    """Checks and copies. After Unfit or OSError, `target` may be in any state. `shared`: the folder of the pictures
    that jobs share, if the target may link to them."""
    found = contents.look(source, caption=how.ending)
    target.mkdir(mode=0o700)
    size = without_caption = rewritten = 0
    animated = []
    for path in found.pictures:
        if picture.check(path):
            animated.append(path.name)
        size += _place(path, target, shared)
        failpoint("dataset.picture_copied")
        caption = path.with_name(path.stem + how.ending)
        if os.path.lexists(caption):
            problem = not_a_file(caption)
            if problem:
                raise Unfit(caption, f"The caption {caption} {problem}.")
            written, changed = _copy_of_caption(caption, target, how)
            size += written
            rewritten += changed
        else:
            without_caption += 1
    notes = (*found.notes, *left_out.note_animated(animated))
    return Snapshot(
        pictures=len(found.pictures),
        names=contents.hash_of(path.name for path in found.pictures),
        without_caption=without_caption,
        rewritten=rewritten,
        size=size,
        notes=notes,
    )


def _place(picture: Path, folder: Path, shared: Path | None) -> int:
    """Places one picture in the target, and returns how many bytes it takes on the disk."""
    target = folder / picture.name
    if shared is not None and shared_pictures.link(picture, target, shared):
        return 0
    size = copy_of(picture, folder)
    if shared is not None:
        shared_pictures.share(target, picture, shared)
    return size


def _copy_of_caption(source: Path, folder: Path, how: Captions) -> tuple[int, bool]:
    """Writes the text that is to be trained. Returns its size in bytes, and whether it differs from the user's."""
    text = composed(source, how) if how.lines is not Lines.KEPT else None
    return copy_of(source, folder, text), text is not None


def composed(source: Path, how: Captions) -> bytes | None:
    """The bytes of the job's caption; None if they are the user's, or cannot be made from them."""
    try:
        with source.open("rb") as reader:
            data = reader.read(MOST_CAPTION + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None  # the copy fails with the reason, or the trainer refuses it
    if len(data) > MOST_CAPTION:
        raise Unfit(
            source, f"The caption {source} has more than {MOST_CAPTION >> 20} MiB; give its picture a short text."
        )
    made = captions.compose(text, how)
    return None if made.strip() == text.strip() else f"{made}\n".encode()


def copy_of(source: Path, folder: Path, data: bytes | None = None) -> int:
    """Copies one file into a folder, and returns its size in bytes. `data`: what to write instead of the file's own
    bytes. Unfit if the source is at fault, else OSError."""
    try:
        return copy(source, folder / source.name, data)
    except OSError as error:
        if error.filename == str(source):
            raise Unfit(source, f"{source} cannot be read: {reason(error)}.") from None
        if error.errno == errno.ENAMETOOLONG:
            raise Unfit(source, f"The name of {source} is too long for the disk of the jobs; shorten it.") from None
        raise


def copy(source: Path, target: Path, data: bytes | None = None) -> int:
    """Makes a durable copy, and returns its size in bytes."""
    with source.open("rb") if data is None else io.BytesIO(data) as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1024 * 1024)
        writer.flush()
        os.fsync(writer.fileno())
        return writer.tell()


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    how = msgspec.json.decode(os.fsencode(sys.argv[3]), type=Captions)
    shared = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    printed(lambda: take(source, target, how, shared), target)


def printed(make: Callable[[], Snapshot], target: Path) -> None:
    """Takes a snapshot, and prints it, or why it failed, as a line of JSON."""
    try:
        outcome = make()
        outcome = msgspec.structs.replace(outcome, notes=tuple(map(printable, outcome.notes)))
        sync_folder(target)
        failpoint("dataset.durable")
    except Unfit as error:
        outcome = Snapshot(path=printable(error.path), problem=printable(error))
    except OSError as error:
        where = error.filename or target
        problem = printable(f"Copying {where} failed: {error.strerror}.")
        outcome = Snapshot(path=printable(where), problem=problem, storage=True, errno=error.errno)
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")


if __name__ == "__main__":
    main()
