# SPDX-License-Identifier: Apache-2.0
"""Copies the pictures and captions of a dataset into a job's home, and opens each picture before it is accepted.

It runs as a program of its own, `python -m fluxgymd.datasets.snapshot SOURCE TARGET`: a picture that crashes or fills
the memory of a decoder does that to this process, not to the daemon. One line of JSON on stdout tells the outcome.
"""

import os
import shutil
import sys
import warnings
from pathlib import Path

import msgspec
from PIL import Image

from fluxgymd.failpoints import failpoint

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""What sd-scripts takes (trainers.md 1.3), in any case of letters."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The outcome. Either `problem` is set, about `path`, or the copy is whole and durable."""

    pictures: int = 0
    without_caption: int = 0
    size: int = 0
    """Bytes copied."""
    path: str | None = None
    problem: str | None = None
    storage: bool = False
    """The problem is the disk that was written to, not the dataset."""


class Unfit(Exception):
    """The dataset cannot be trained on."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(problem)
        self.path = path


def take(source: Path, target: Path) -> Snapshot:
    """Copies and checks. Unfit or OSError, with `target` in any state."""
    pictures = find_pictures(source)
    target.mkdir(mode=0o700)
    size = without_caption = 0
    for picture in pictures:
        check_picture(picture)
        size += copy(picture, target / picture.name)
        failpoint("dataset.picture_copied")
        caption = picture.with_suffix(".txt")
        if caption.exists():
            if not caption.is_file():  # a pipe would be waited for, for ever
                raise Unfit(caption, f"The caption {caption} is not a file.")
            size += copy(caption, target / caption.name)
        else:
            without_caption += 1
    return Snapshot(pictures=len(pictures), without_caption=without_caption, size=size)


def find_pictures(source: Path) -> list[Path]:
    """The pictures in a folder, sorted by name, not recursive. Unfit if there are none."""
    try:
        names = sorted(os.listdir(source))
    except NotADirectoryError:
        raise Unfit(source, f"The dataset {source} is not a folder; give the folder of the pictures.") from None
    except OSError as error:
        raise Unfit(source, f"The dataset {source} cannot be read: {error.strerror}.") from None
    pictures = [source / name for name in names if Path(name).suffix.lower() in PICTURES and name[0] != "."]
    if not pictures:
        kinds = ", ".join(PICTURES)
        raise Unfit(source, f"The dataset {source} holds no picture; it needs at least one of {kinds}.")
    stems: dict[str, Path] = {}
    for picture in pictures:
        other = stems.setdefault(picture.stem, picture)
        if other is not picture:
            # Both would share one caption and one cache file.
            raise Unfit(picture, f"The pictures {other.name} and {picture.name} have the same name; rename one.")
    return pictures


def check_picture(picture: Path) -> None:
    """Decodes it in full: a torn file has a good header. Unfit if that fails."""
    if not picture.is_file():  # a pipe would be waited for, for ever
        raise Unfit(picture, f"The picture {picture} is not a file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(picture) as image:
                image.load()
    except Exception as error:  # noqa: BLE001 - Pillow raises whatever its decoders raise
        raise Unfit(picture, f"The picture {picture} cannot be read: {_sentence(error)}.") from None


def copy(source: Path, target: Path) -> int:
    """A durable copy; its size in bytes."""
    with source.open("rb") as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1024 * 1024)
        writer.flush()
        os.fsync(writer.fileno())
        return writer.tell()


def _sentence(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def _printable(text: object) -> str:
    """The text, with U+FFFD where a file's name is no UTF-8: JSON cannot carry that."""
    return str(text).encode(errors="surrogateescape").decode(errors="replace")


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        outcome = take(source, target)
        descriptor = os.open(target, os.O_RDONLY)
        os.fsync(descriptor)
        failpoint("dataset.durable")
    except Unfit as error:
        outcome = Snapshot(path=_printable(error.path), problem=_printable(error))
    except OSError as error:
        where = error.filename or target
        problem = _printable(f"Copying {where} failed: {error.strerror}.")
        outcome = Snapshot(path=_printable(where), problem=problem, storage=True)
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")


if __name__ == "__main__":
    main()
