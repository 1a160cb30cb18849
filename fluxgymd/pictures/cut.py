# SPDX-License-Identifier: Apache-2.0
"""Cuts a rectangle out of a stored picture, and makes a mask its alpha.

The result is a PNG, so that nothing but the rectangle is lost; a picture without either is linked as it is.
"""

from pathlib import Path

from PIL import Image

from fluxgymd.pictures import new_files, reading

ENDING = ".png"


def cut(source: Path, target: Path, *, box: tuple[int, int, int, int] | None, mask: Path | None) -> None:
    """Writes a durable new file `target`, with the ending .png; the caller syncs its folder.

    `box`: left, top, right and bottom in pixels of the picture; it has to lie in it. `mask`: a grey picture of
    the same size as the whole picture; black is not trained. Raises ValueError with one sentence if they don't fit,
    Unreadable or OSError.
    """
    if box is None and mask is None:
        raise ValueError("Neither a rectangle nor a mask is given, so there is nothing to cut.")
    if target.suffix != ENDING:
        raise ValueError(f"The result is a PNG, but {target} doesn't end in {ENDING}.")
    image = _loaded(source)
    if mask is not None:
        alpha = _loaded(mask).convert("L")
        if alpha.size != image.size:
            raise ValueError(
                f"The mask {mask} has {alpha.width} x {alpha.height} pixels, but its picture has "
                f"{image.width} x {image.height}."
            )
        image = image.convert("RGB")
        image.putalpha(alpha)
    if box is not None:
        left, top, right, bottom = box
        if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
            raise ValueError(
                f"The rectangle from ({left}, {top}) to ({right}, {bottom}) is not within the picture of "
                f"{image.width} x {image.height} pixels."
            )
        image = image.crop(box)
    new_files.write_new(target, new_files.png(image))


def _loaded(path: Path) -> Image.Image:
    with path.open("rb") as file, reading.open_picture(file) as image:
        reading.decode(image)
        return image.copy()
