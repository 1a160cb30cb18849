# SPDX-License-Identifier: Apache-2.0
"""Pictures on the disk to pixels of the size that is trained: covered, then cut to the middle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from library.errors import TrainerError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True, kw_only=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int


def read_size(path: Path) -> Size:
    """The size that the file states. Raises TrainerError if it is not a picture."""
    try:
        with Image.open(path) as picture:
            return Size(width=picture.width, height=picture.height)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise _corrupt(path) from error


def cover_and_crop(original: Size, target: Size) -> tuple[Size, tuple[int, int, int, int]]:
    """The size to resize to, and the box (left, top, right, bottom) to cut from it.

    The picture is made just large enough to cover the target, and the middle is kept.
    """
    scale = max(target.width / original.width, target.height / original.height)
    resized = Size(
        width=max(target.width, round(original.width * scale)),
        height=max(target.height, round(original.height * scale)),
    )
    left = (resized.width - target.width) // 2
    top = (resized.height - target.height) // 2
    return resized, (left, top, left + target.width, top + target.height)


def load_pixels(path: Path, target: Size) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Pixels (1, 3, H, W) in [-1, 1], and the box that was cut. Raises TrainerError if the picture cannot be read.

    The camera's rotation (EXIF) is applied, so that a photo is trained the way people see it.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise _corrupt(path) from error
    resized, box = cover_and_crop(Size(width=upright.width, height=upright.height), target)
    cut = upright.resize((resized.width, resized.height), Image.Resampling.LANCZOS).crop(box)
    pixels_HW3 = torch.from_numpy(numpy.asarray(cut, dtype=numpy.float32) / 127.5 - 1)
    return pixels_HW3.permute(2, 0, 1)[None].contiguous(), box


def to_picture(pixels_3HW: Tensor) -> Image.Image:
    """Pixels in [-1, 1] -> a picture."""
    bytes_HW3 = ((pixels_3HW.float() + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8).permute(1, 2, 0)
    return Image.fromarray(bytes_HW3.numpy(), mode="RGB")


def _corrupt(path: Path) -> TrainerError:
    return TrainerError(f"the picture {path} is damaged or not a picture: replace it or take it out of the dataset")
