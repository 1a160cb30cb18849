# SPDX-License-Identifier: Apache-2.0
"""Opens pictures, and says in words why a file isn't one, or not one that can be used.

Pillow's messages ("cannot identify image file") say neither what the file is nor what to do. All pictures that the
daemon's programs open are opened here.
"""

import warnings
from typing import BinaryIO

from PIL import Image, PngImagePlugin, UnidentifiedImageError

MOST_MEGAPIXELS = 200
"""Photos of 200 megapixels exist. A larger picture than this is a mistake, or was made to fill the memory."""
MOST_TEXT = 1 << 30
"""Bytes of text in a PNG. Image generators store entire workflows there; Pillow's limit is 1 MB."""
READABLE = frozenset(("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "ICO", "TGA", "PPM"))
"""Formats, recognized by content and not by name. Other formats may run programs when opened (EPS) or have no
pixels."""
HEIF = "HEIF"
"""The format of iPhones, in the name that pillow-heif gives it. Only the importer knows it: it converts it."""

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
AVIF = (b"avif", b"avis")
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class Unreadable(Exception):
    """The message is the words that follow the picture's name: "is empty; replace it"."""


def open_picture(file: BinaryIO, *, formats: frozenset[str] = READABLE) -> Image.Image:
    """Reads a picture's header, and checks its format and size. Raises Unreadable, or the file's OSError."""
    Image.MAX_IMAGE_PIXELS = None  # MOST_MEGAPIXELS is the limit instead
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(file)
    except UnidentifiedImageError:
        file.seek(0)
        head = file.read(HEAD_BYTES)
        raise Unreadable(DAMAGED if _is_torn(head, formats) else f"is {_what(head)}") from None
    except Exception as error:  # noqa: BLE001 - Pillow raises whatever its decoders raise
        raise _words(error) from None
    kind = image.format or "unknown"
    if kind not in formats:
        raise Unreadable(f"has the unsupported format {kind}; convert it to PNG or JPEG")
    if image.width * image.height > MOST_MEGAPIXELS * 1_000_000:
        raise Unreadable(
            f"has {image.width * image.height / 1e6:.0f} megapixels ({image.width} x {image.height}), but may have "
            f"at most {MOST_MEGAPIXELS}; scale it down"
        )
    return image


def decode(image: Image.Image) -> None:
    """Decodes the entire picture, since a torn file can have a good header. Raises Unreadable or OSError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except Exception as error:  # noqa: BLE001 - as above
        raise _words(error) from None


def is_animated(image: Image.Image) -> bool:
    """Whether there are frames besides the first. In an MPO they are another view or a preview of the same photo."""
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


DAMAGED = f"is damaged: its data is truncated or invalid; {INSTEAD}"


def _words(error: Exception) -> Exception:
    """What to raise for an error of Pillow's: an OSError of the disk as it is, else words for it."""
    if isinstance(error, MemoryError):
        return Unreadable("does not fit into this machine's memory; scale it down")
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return Unreadable(DAMAGED)


def _is_torn(head: bytes, formats: frozenset[str]) -> bool:
    brands = (*AVIF, *HEIC) if HEIF in formats else AVIF
    return head.startswith(SIGNATURES) or (head[4:8] == b"ftyp" and head[8:12] in brands)


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
