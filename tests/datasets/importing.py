# SPDX-License-Identifier: Apache-2.0
"""Pictures to import."""

from pathlib import Path

from PIL import Image


def make_pictures(folder: Path, count: int = 3) -> Path:
    """Makes IMG_1.jpg, IMG_2.jpg, ... of 400 x 300 pixels, all different, each with a caption."""
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        picture = Image.radial_gradient("L").resize((400, 300))
        shifted = Image.new("RGB", (400, 300), (20 * number, 90, 120))
        shifted.paste(picture, (37 * number, 23 * number))
        shifted.save(folder / f"IMG_{number}.jpg", quality=95)
        (folder / f"IMG_{number}.txt").write_text(f"a photo of cat {number}\n", encoding="utf-8")
    return folder
