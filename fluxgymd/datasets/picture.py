# SPDX-License-Identifier: Apache-2.0
"""Opens one picture, and says in a sentence why it cannot be trained on.

Pillow's messages ("cannot identify image file") say neither what the file is nor what to do.
"""

import stat
import warnings
from pathlib import Path

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from fluxgymd.datasets.contents import Unfit, reason

MOST_MEGAPIXELS = 200
"""Photos of 100 megapixels exist. A larger picture than this is a mistake, or was made to fill the memory."""
MOST_TEXT = 1 << 30
"""Bytes of text in a PNG. Image generators store entire workflows there; Pillow's limit is 1 MB."""
READABLE = frozenset(("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "ICO", "TGA", "PPM"))
"""Formats by content, whatever the name says. Opening others may run programs (EPS), or they have no pixels."""

HEAD_BYTES = 64
# How files begin that Pillow cannot identify, and what each is.
BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer to a picture; fetch the picture with `git lfs pull`"),
    (b"<!doctype html", "a web page; download the picture itself"),
    (b"<html", "a web page; download the picture itself"),
    (b"<?xml", "an SVG or XML file; convert it to PNG"),
    (b"<svg", "an SVG file; convert it to PNG"),
    (b"8bps", "a Photoshop file; convert it to PNG"),
    (b"%pdf", "a PDF file; convert it to PNG"),
    (b"pk\x03\x04", "a ZIP archive; unpack it"),
    (b"\xff\x0a", "a JPEG XL picture; convert it to PNG or JPEG"),
    (b"\x00\x00\x00\x0cjxl ", "a JPEG XL picture; convert it to PNG or JPEG"),
    (b"\x00\x05\x16\x07", "macOS metadata, not a picture; remove it from the dataset"),
)
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"BM", b"GIF8")
"""Signatures of the common formats: Pillow does not identify a file whose header is torn."""
INSTEAD = "replace it or remove it from the dataset"
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def check(path: Path) -> bool:
    """Decodes the entire picture, since a torn file can have a good header. Returns whether the picture is animated.
    Unfit if it cannot be read."""
    _refuse_other_than_files(path)
    Image.MAX_IMAGE_PIXELS = None  # MOST_MEGAPIXELS is the limit instead
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                _refuse_format(path, image.format or "unknown")
                _refuse_size(path, image.width, image.height)
                image.load()
                return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Unfit:
        raise
    except UnidentifiedImageError:
        raise _unidentified(path) from None
    except MemoryError:
        raise Unfit(path, f"The picture {path} does not fit into this machine's memory; scale it down.") from None
    except Exception as error:  # noqa: BLE001 - Pillow raises whatever its decoders raise
        if isinstance(error, OSError) and error.errno is not None:
            raise Unfit(path, f"The picture {path} cannot be read: {reason(error)}.") from None
        raise _damaged(path) from None


def _refuse_other_than_files(path: Path) -> None:
    problem = not_a_file(path)
    if problem:
        raise Unfit(path, f"The picture {path} {problem}.")


def not_a_file(path: Path) -> str | None:
    """Why a path cannot be opened like a file, as words that follow its name; None if it can. Opening a pipe would
    block forever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "no longer exists"
    except OSError as error:
        return f"cannot be read: {reason(error)}"
    if stat.S_ISREG(mode):
        return None
    return "is a folder, not a file" if stat.S_ISDIR(mode) else "is not a file"


def _refuse_format(path: Path, kind: str) -> None:
    if kind not in READABLE:
        raise Unfit(path, f"The picture {path} has the unsupported format {kind}; convert it to PNG or JPEG.")


def _refuse_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_MEGAPIXELS * 1_000_000:
        raise Unfit(
            path,
            f"The picture {path} has {width * height / 1e6:.0f} megapixels ({width} x {height}), but may have "
            f"at most {MOST_MEGAPIXELS}; scale it down.",
        )


def _damaged(path: Path) -> Unfit:
    return Unfit(path, f"The picture {path} is damaged: its data is truncated or invalid; {INSTEAD}.")


def _unidentified(path: Path) -> Unfit:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return _damaged(path) if head.startswith(SIGNATURES) else Unfit(path, f"The picture {path} is {_what(head)}.")


def _what(head: bytes) -> str:
    """What a file is that isn't a picture, and what to do about it."""
    if not head:
        return f"empty; {INSTEAD}"
    if not head.strip(b"\0"):
        return f"filled with zeros, as after a crash; {INSTEAD}"
    if head[4:8] == b"ftyp":
        kind = "a HEIC picture" if head[8:12] in HEIC else "a video or a camera's raw file"
        return f"{kind}; convert it to PNG or JPEG"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((what for beginning, what in BEGINNINGS if text.startswith(beginning)), f"not a picture; {INSTEAD}")
