# SPDX-License-Identifier: Apache-2.0
"""Pictures on the disk to pixels of the size that is trained: resized to cover it, then cut to the middle.

Where nothing else is asked for, a picture that shrinks is averaged over areas and one that grows is resampled by
Lanczos, as in sd-scripts (trainers.md 1.3).
"""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from library.buckets import Size
from library.errors import TrainerError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
EXIF_ORIENTATION, TURNED = 0x0112, range(5, 9)
# What Pillow raises for damaged files.
DAMAGE = (OSError, UnidentifiedImageError, ValueError, SyntaxError, TypeError, RuntimeError)
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "lanczos4": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "linear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
}


def read_size(path: Path) -> tuple[Size, int]:
    """The size that the file states, and the camera's rotation (EXIF; 1 is none).

    Raises TrainerError if it is not a picture.
    """
    if not path.is_file():  # a pipe would be waited for
        raise _corrupt(path)
    try:
        with Image.open(path) as picture:
            return Size(picture.width, picture.height), int(picture.getexif().get(EXIF_ORIENTATION, 1))
    except Image.DecompressionBombError as error:
        raise TrainerError(
            f"the picture {path} is damaged or too large: {error}; make it smaller or take it out of the dataset"
        ) from error
    except DAMAGE as error:
        raise _corrupt(path) from error


def upright(size: Size, rotation: int) -> Size:
    """The size that people see."""
    return Size(size.height, size.width) if rotation in TURNED else size


def load_pixels(path: Path, *, bucket: Size, resized: Size, interpolation: str | None) -> tuple[Tensor, Tensor]:
    """Pixels (1, 3, H, W) in [-1, 1] of the bucket's size, and their opacity (H, W) in [0, 1].

    The camera's rotation is applied, so that a photo is trained the way people see it. What lies under transparent
    pixels is kept. Raises TrainerError if the picture cannot be read.
    """
    try:
        with Image.open(path) as picture:
            rgba = _in_eight_bits(ImageOps.exif_transpose(picture)).convert("RGBA")
    except DAMAGE as error:
        raise _corrupt(path) from error
    # Apart, because Pillow darkens colours by their opacity when it resizes them together.
    colours = _fit(rgba.convert("RGB"), bucket, resized, interpolation)
    opacity = _fit(rgba.getchannel("A"), bucket, resized, interpolation)
    pixels_HW3 = torch.from_numpy(colours.astype(numpy.float32) / 127.5 - 1)
    return pixels_HW3.permute(2, 0, 1)[None].contiguous(), torch.from_numpy(opacity.astype(numpy.float32) / 255)


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """Grey in 16 bits as grey in 8: Pillow would make white of all that is above 255."""
    if picture.mode != "I" and not picture.mode.startswith("I;16"):
        return picture
    return Image.fromarray((numpy.asarray(picture).clip(0, 0xFFFF) >> 8).astype(numpy.uint8))


def _fit(picture: Image.Image, bucket: Size, resized: Size, interpolation: str | None) -> numpy.ndarray:
    """Resized, and the middle cut out: bytes (H, W) or (H, W, 3)."""
    if interpolation is None:
        shrinks = picture.width >= resized.width and picture.height >= resized.height
        interpolation = "area" if shrinks else "lanczos"
    if (picture.width, picture.height) == (resized.width, resized.height):
        fitted = numpy.asarray(picture)
    elif interpolation == "area":
        fitted = by_area(numpy.asarray(picture), resized)
    else:
        fitted = numpy.asarray(picture.resize((resized.width, resized.height), FILTERS[interpolation]))
    left, top = (resized.width - bucket.width) // 2, (resized.height - bucket.height) // 2
    return fitted[top : top + bucket.height, left : left + bucket.width]


def by_area(picture: numpy.ndarray, size: Size) -> numpy.ndarray:
    """Each new pixel is the mean of the area of old ones that it covers, parts of pixels included.

    (H, W, ...) bytes -> (size.height, size.width, ...) bytes. Pillow's BOX takes whole pixels only.
    """
    means = _means(_means(picture, size.height, axis=0), size.width, axis=1)
    return numpy.rint(means).clip(0, 255).astype(numpy.uint8)


def _means(values: numpy.ndarray, count: int, *, axis: int) -> numpy.ndarray:
    """Means over `count` equal stretches of an axis: a sum over the pixels that lie in a stretch, first of all
    stretches, then second, and so on, each weighted by its part that lies inside."""
    values = numpy.moveaxis(values, axis, 0)
    length = values.shape[0]
    edges = numpy.arange(count + 1) * (length / count)
    begin, end = edges[:-1], edges[1:]
    summed = numpy.zeros((count, *values.shape[1:]), dtype=numpy.float32)
    for offset in range(int(numpy.ceil(length / count)) + 1):
        pixel = begin.astype(int) + offset
        inside = (numpy.minimum(end, pixel + 1) - numpy.maximum(begin, pixel)).clip(0) * (count / length)
        weights = inside.astype(numpy.float32).reshape(-1, *[1] * (values.ndim - 1))
        summed += weights * values[numpy.minimum(pixel, length - 1)]
    return numpy.moveaxis(summed, 0, axis)


def to_picture(pixels_3HW: Tensor) -> Image.Image:
    """Pixels in [-1, 1] -> a picture."""
    bytes_HW3 = ((pixels_3HW.float() + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8).permute(1, 2, 0)
    return Image.fromarray(bytes_HW3.numpy(), mode="RGB")


def _corrupt(path: Path) -> TrainerError:
    return TrainerError(f"the picture {path} is damaged or not a picture: replace it or take it out of the dataset")
