# SPDX-License-Identifier: Apache-2.0
"""Copies the pictures and captions of a dataset into a job's home, and opens each picture before it is accepted.

It runs as a separate program, `python -P -m fluxgymd.datasets.snapshot SOURCE TARGET .txt`: a picture that makes a
decoder crash or fill the memory does so in this process, not in the daemon. Prints its outcome as one line of JSON.
"""

import errno
import os
import shutil
import sys
from pathlib import Path

import msgspec

from fluxgymd.datasets import contents, picture
from fluxgymd.datasets.contents import Unfit
from fluxgymd.failpoints import failpoint
from fluxgymd.pictures.files import not_a_file, printable, reason


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The outcome. Either `problem` is set, about `path`, or the copy is complete and durable."""

    pictures: int = 0
    names: str = ""
    """The hash of the pictures' names (contents.hash_of)."""
    without_caption: int = 0
    size: int = 0
    """Bytes copied."""
    notes: tuple[str, ...] = ()
    """Sentences about what is left out."""
    path: str | None = None
    problem: str | None = None
    storage: bool = False
    """The problem is with the disk that was written to, not with the dataset."""


def take(source: Path, target: Path, *, caption_ending: str) -> Snapshot:
    """Checks and copies. After Unfit or OSError, `target` may be in any state."""
    found = contents.look(source, caption=caption_ending)
    target.mkdir(mode=0o700)
    size = without_caption = 0
    animated = []
    for path in found.pictures:
        if picture.check(path):
            animated.append(path.name)
        size += copy_of(path, target)
        failpoint("dataset.picture_copied")
        caption = path.with_name(path.stem + caption_ending)
        if os.path.lexists(caption):
            problem = not_a_file(caption)
            if problem:
                raise Unfit(caption, f"The caption {caption} {problem}.")
            size += copy_of(caption, target)
        else:
            without_caption += 1
    notes = (*found.notes, *contents.note_animated(animated))
    return Snapshot(
        pictures=len(found.pictures),
        names=contents.hash_of(path.name for path in found.pictures),
        without_caption=without_caption,
        size=size,
        notes=notes,
    )


def copy_of(source: Path, folder: Path) -> int:
    """Copies one file into a folder, and returns its size in bytes. Unfit if the source is at fault, else OSError."""
    try:
        return copy(source, folder / source.name)
    except OSError as error:
        if error.filename == str(source):
            raise Unfit(source, f"{source} cannot be read: {reason(error)}.") from None
        if error.errno == errno.ENAMETOOLONG:
            raise Unfit(source, f"The name of {source} is too long for the disk of the jobs; shorten it.") from None
        raise


def copy(source: Path, target: Path) -> int:
    """Makes a durable copy, and returns its size in bytes."""
    with source.open("rb") as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1024 * 1024)
        writer.flush()
        os.fsync(writer.fileno())
        return writer.tell()


def main() -> None:
    source, target, caption_ending = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    try:
        outcome = take(source, target, caption_ending=caption_ending)
        outcome = msgspec.structs.replace(outcome, notes=tuple(map(printable, outcome.notes)))
        descriptor = os.open(target, os.O_RDONLY)
        os.fsync(descriptor)
        failpoint("dataset.durable")
    except Unfit as error:
        outcome = Snapshot(path=printable(error.path), problem=printable(error))
    except OSError as error:
        where = error.filename or target
        problem = printable(f"Copying {where} failed: {error.strerror}.")
        outcome = Snapshot(path=printable(where), problem=problem, storage=True)
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")


if __name__ == "__main__":
    main()
