# SPDX-License-Identifier: Apache-2.0
"""Opens a picture of the dataset. A picture that cannot be trained is refused from its header, in one sentence.

Pillow's limits are raised: a photo may have 200 megapixels, and no text inside a PNG (ComfyUI stores its workflow
there) is too long. Pixel types that Pillow would convert wrongly are converted here or refused.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy
from PIL import Image, UnidentifiedImageError

from library.errors import TrainerError

MOST_PIXELS = 200_000_000
# What Pillow raises for damaged files.
DAMAGE = (OSError, UnidentifiedImageError, ValueError, SyntaxError, TypeError, RuntimeError)
# Pillow's names of the pixel types whose look its `convert` preserves.
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"}
SIXTEEN_BITS = "I;16"
WHAT_THEY_ARE = {
    "F": "floating-point numbers",
    "I": "32-bit integers",
    "LAB": "LAB colours",
}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")

# Pillow warns above its own limit and fails at twice that, without saying what to do; `_check` has its own limit.
Image.MAX_IMAGE_PIXELS = None


@contextlib.contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Opens a picture and reads its header; a PNG is read completely.

    Raises TrainerError for a file that is damaged, not a picture, too large, or has pixels of an unusual type, and
    for a failure of Pillow within the context.
    """
    if not path.is_file():  # opening a pipe would block
        raise _damaged(path)
    try:
        with _opened(path) as picture:
            yield picture
    except DAMAGE as error:
        raise _damaged(path) from error


def _opened(path: Path) -> Image.Image:
    try:
        return _checked(path, path)
    except ValueError:  # Pillow refuses a text chunk above its limit
        content = path.read_bytes()
        if not content.startswith(PNG_SIGNATURE):
            raise
        return _checked(io.BytesIO(without_texts(content)), path)


def _checked(source: Path | io.BytesIO, path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about metadata, which the trainer does not use
        picture = Image.open(source)
        try:
            _check(picture, path)
            if picture.format == "PNG":
                picture.load()  # text chunks may follow the pixels
        except BaseException:
            picture.close()
            raise
        return picture


def without_texts(png: bytes) -> bytes:
    """A PNG file's bytes without its text chunks."""
    kept, start = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while start + 8 <= len(png):
        length, kind = struct.unpack(">I4s", png[start : start + 8])
        end = start + length + 12
        if kind not in PNG_TEXTS:
            kept.append(png[start:end])
        start = end
    return b"".join(kept)


def _check(picture: Image.Image, path: Path) -> None:
    if (pixels := picture.width * picture.height) > MOST_PIXELS:
        raise TrainerError(
            f"the picture {path} has {picture.width} x {picture.height} pixels ({pixels / 1e6:.0f} "
            f"megapixels), but at most {MOST_PIXELS // 10**6} megapixels are supported: scale it down",
            path=path,
        )
    if picture.mode in MODES or _is_sixteen_bits(picture):
        return
    what = WHAT_THEY_ARE.get(picture.mode, f"pixels of type {picture.mode}")
    raise TrainerError(
        f"the picture {path} is a {picture.format} file that holds {what}, which are not supported: save it as "
        "a PNG with 8 bits per channel",
        path=path,
    )


def _is_sixteen_bits(picture: Image.Image) -> bool:
    """Whether a picture is grey with 16 bits. Older versions of Pillow call such PNGs `I`."""
    return picture.mode.startswith(SIXTEEN_BITS) or (picture.mode == "I" and picture.format == "PNG")


def in_rgba(picture: Image.Image) -> Image.Image:
    """The picture in RGBA, with 8 bits per colour. 16-bit grey is scaled down first: Pillow would turn every shade
    above 255 white."""
    if picture.mode == "I" or picture.mode.startswith(SIXTEEN_BITS):
        shades = numpy.asarray(picture).clip(0, 0xFFFF) >> 8
        picture = Image.fromarray(shades.astype(numpy.uint8))
    return picture.convert("RGBA")


def _damaged(path: Path) -> TrainerError:
    return TrainerError(
        f"the picture {path} is damaged or not a picture: replace it or remove it from the dataset", path=path
    )
