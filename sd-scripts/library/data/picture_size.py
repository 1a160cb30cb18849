# SPDX-License-Identifier: Apache-2.0
"""Which files are pictures, and the sizes in their headers. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from library.data.buckets import Size
from library.data.picture_file import open_picture

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
EXIF_ORIENTATION, TURNED = 0x0112, range(5, 9)


def read_size(path: Path) -> tuple[Size, int]:
    """The size that the file states, and the EXIF orientation (1: none).

    Raises TrainerError for a file that cannot be trained, as `open_picture` does.
    """
    with open_picture(path) as picture:
        return Size(picture.width, picture.height), int(picture.getexif().get(EXIF_ORIENTATION, 1))


def upright(size: Size, rotation: int) -> Size:
    """The size of the picture as displayed, after the EXIF orientation `rotation`."""
    return Size(size.height, size.width) if rotation in TURNED else size
