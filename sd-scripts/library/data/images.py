# SPDX-License-Identifier: Apache-2.0
"""Reads pictures as pixels of the size that is trained: resized to cover that size, then cropped to the middle.

By default, as in sd-scripts, a picture that shrinks is averaged over areas, and one that grows is resampled by
Lanczos.
"""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor

from library.data.buckets import Size, middle
from library.data.picture_file import in_rgba, open_picture

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


def load_pixels(path: Path, *, bucket: Size, resized: Size, interpolation: str | None) -> tuple[Tensor, Tensor]:
    """Pixels (1, 3, H, W) in [-1, 1] of the bucket's size, and their opacity (H, W) in [0, 1].

    The rotation that a camera stored is applied, so that a photo is trained the way people see it. Transparent pixels
    keep their colours. Raises TrainerError if the picture cannot be read.
    """
    with open_picture(path) as picture:
        rgba = in_rgba(ImageOps.exif_transpose(picture))
    # Resized separately, because Pillow darkens transparent colours when it resizes all channels together.
    colours = _fit(rgba.convert("RGB"), bucket, resized, interpolation)
    opacity = _fit(rgba.getchannel("A"), bucket, resized, interpolation)
    pixels_HW3 = torch.from_numpy(colours.astype(numpy.float32) / 127.5 - 1)
    return pixels_HW3.permute(2, 0, 1)[None].contiguous(), torch.from_numpy(opacity.astype(numpy.float32) / 255)


def _fit(picture: Image.Image, bucket: Size, resized: Size, interpolation: str | None) -> numpy.ndarray:
    """The picture, resized and cropped to the middle, as bytes (H, W) or (H, W, 3)."""
    if interpolation is None:
        shrinks = picture.width >= resized.width and picture.height >= resized.height
        interpolation = "area" if shrinks else "lanczos"
    if (picture.width, picture.height) == (resized.width, resized.height):
        fitted = numpy.asarray(picture)
    elif interpolation == "area":
        fitted = by_area(numpy.asarray(picture), resized)
    else:
        fitted = numpy.asarray(picture.resize((resized.width, resized.height), FILTERS[interpolation]))
    left, top = middle(bucket, resized)
    return fitted[top : top + bucket.height, left : left + bucket.width]


def by_area(picture: numpy.ndarray, size: Size) -> numpy.ndarray:
    """Resizes bytes (H, W, ...) to (size.height, size.width, ...). Each new pixel is the mean of the area it covers.

    Partly covered pixels count in proportion, whereas Pillow's BOX only takes complete pixels.
    """
    means = _means(_means(picture, size.height, axis=0), size.width, axis=1)
    return numpy.rint(means).clip(0, 255).astype(numpy.uint8)


def _means(values: numpy.ndarray, count: int, *, axis: int) -> numpy.ndarray:
    """Means over `count` equal intervals of an axis.

    Each pass of the loop adds one pixel to every interval (first the first pixel of each, then the second, ...),
    weighted by the part of the pixel that is inside.
    """
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
    """Pixels (3, H, W) in [-1, 1] -> an RGB picture."""
    bytes_HW3 = ((pixels_3HW.float() + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8).permute(1, 2, 0)
    return Image.fromarray(bytes_HW3.numpy(), mode="RGB")
