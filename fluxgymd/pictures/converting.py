# SPDX-License-Identifier: Apache-2.0
"""Decides what of a picture's file goes into the store: its bytes as they are, or what people see, encoded anew.

Bytes stay as they are if any reader gets the same from them: a format that the trainer reads, one frame, upright,
sRGB, opaque, and not too large. Otherwise a photo (JPEG, HEIC, AVIF) becomes a JPEG of high quality, since a PNG
would be ten times as large and no better, and anything else becomes a PNG, which loses nothing.
"""

import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from fluxgymd.pictures import appearance, colours, new_files, reading
from fluxgymd.pictures.reading import HEIF, READABLE, Unreadable

ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}
"""What the trainer reads, by Pillow's names of the formats."""
PHOTOS = frozenset(("JPEG", "MPO", "AVIF", HEIF))
VISIBLE = 128
"""Of 255: a pixel whose alpha is less counts as invisible."""
LEAST_INVISIBLE = 0.01
"""Of all pixels. Less than this is the rounded corner of a screenshot or a smooth edge, not a cut-out object."""

MOST_DISTORTION = 0.02
"""How much a mask's proportions may differ from its picture's, since programs round sizes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    data: bytes
    ending: str
    width: int
    height: int
    mask: bytes | None
    """A greyscale PNG of the same size: white is trained, black is not."""
    difference_hash: str
    sharpness: float
    notes: tuple[str, ...]


def convert(data: bytes, *, most_megapixels: float) -> Converted:
    """What to store for a picture's file. A larger picture is scaled down. Raises Unreadable."""
    try:
        return _convert(data, most_megapixels)
    except MemoryError:
        raise Unreadable("does not fit in this machine's memory; scale it down") from None
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - a picture of a rare kind must not end the import of the others
        words = f"cannot be converted ({type(error).__name__}: {error}); convert it to PNG or JPEG"
        raise Unreadable(words) from None


def _convert(data: bytes, most_megapixels: float) -> Converted:
    formats = READABLE | {HEIF}
    with reading.open_picture(io.BytesIO(data), formats=formats) as image, _room.of(image.width * image.height):
        return _convert_opened(data, image, most_megapixels)


def _convert_opened(data: bytes, image: Image.Image, most_megapixels: float) -> Converted:
    kind, size = image.format or "", image.size
    target = _limited(size, most_megapixels)
    plain = kind in ENDINGS and target is None and colours.is_plain(image)
    # JPEG decodes to fewer pixels much faster; all of the file is read all the same.
    image.draft(None, target or ((appearance.SIDE, appearance.SIDE) if plain else size))
    reading.decode(image)
    frames = _note_frames(image, kind)
    if plain and not frames:
        return _converted(data, ENDINGS[kind], size, image, mask=None, notes=[])
    if target and image.mode in ("RGB", "L", "RGBA", "LA"):  # first, since what follows takes several copies
        image.thumbnail(target, Image.Resampling.LANCZOS)
    seen = colours.as_seen(image)
    notes = [*frames, *(f"It {clause}." for clause in seen.notes)]
    if kind in ENDINGS and not notes and not target and seen.alpha is None:
        return _converted(data, ENDINGS[kind], size, seen.image, mask=None, notes=[])
    picture, alpha = seen.image, seen.alpha
    if target:
        upright = target if (picture.width > picture.height) == (target[0] > target[1]) else target[::-1]
        picture = picture.resize(upright, Image.Resampling.LANCZOS)
        alpha = alpha and alpha.resize(upright, Image.Resampling.LANCZOS)
        notes.append(
            f"It was scaled down from {size[0]} x {size[1]} to {target[0]} x {target[1]} pixels: the limit is "
            f"{most_megapixels:g} megapixels."
        )
    mask = _mask_of(alpha) if alpha else None
    if alpha:
        notes.append(
            "Its transparent part is white now, and a mask leaves it out of the training."
            if mask
            else "Its transparent pixels are white now."
        )
    encoded, ending = (new_files.jpeg(picture), ".jpg") if kind in PHOTOS else (new_files.png(picture), ".png")
    if ENDINGS.get(kind) != ending:
        notes.append(
            f"It was converted from {'HEIC' if kind == HEIF else kind} to {'JPEG' if kind in PHOTOS else 'PNG'}."
        )
    return _converted(encoded, ending, picture.size, picture, mask=mask, notes=notes)


class _DecodingRoom:
    """Bounds how many pixels are decoded at a time, since one of 200 megapixels takes gigabytes to convert."""

    def __init__(self, most: int) -> None:
        self._free, self._most = most, most
        self._changed = threading.Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= min(pixels, self._most))
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_room = _DecodingRoom(reading.MOST_MEGAPIXELS * 1_000_000)


def read_mask(data: bytes, *, width: int, height: int) -> bytes | None:
    """The mask in a file, for a picture of this size; None if it leaves nothing out. Raises Unreadable."""
    with reading.open_picture(io.BytesIO(data)) as image:
        reading.decode(image)
        seen = colours.as_seen(image)
    mask = seen.alpha or seen.image.convert("L")
    if abs(mask.width * height - mask.height * width) > MOST_DISTORTION * mask.width * height:
        raise Unreadable(
            f"has {mask.width} x {mask.height} pixels, but its picture has {width} x {height}; make it the same size"
        )
    lowest, highest = mask.getextrema()
    if highest == 0:
        raise Unreadable("is entirely black, so nothing of its picture would be trained; make the trained part white")
    if lowest == 255:
        return None
    return new_files.png(mask if mask.size == (width, height) else mask.resize((width, height)))


def _limited(size: tuple[int, int], most_megapixels: float) -> tuple[int, int] | None:
    """The size that a picture over the limit gets; None for one within it."""
    width, height = size
    excess = width * height / (most_megapixels * 1e6)
    if excess <= 1:
        return None
    return max(1, int(width / math.sqrt(excess))), max(1, int(height / math.sqrt(excess)))


def _note_frames(image: Image.Image, kind: str) -> list[str]:
    if not reading.is_animated(image):
        return []
    count = getattr(image, "n_frames", 2)
    match kind:
        case "TIFF":
            return [f"It has {count} pages, and only the first one is used."]
        case reading.HEIF:
            return [f"It holds {count} pictures, and only the main one is used."]
        case _:
            return [f"It is animated, and only the first of its {count} frames is used."]


def _mask_of(alpha: Image.Image) -> bytes | None:
    """A picture's alpha channel as a mask; None if too little is invisible to be meant, or too little is visible."""
    shades = alpha.histogram()
    invisible = sum(shades[:VISIBLE]) / sum(shades)
    return new_files.png(alpha) if LEAST_INVISIBLE <= invisible <= 1 - LEAST_INVISIBLE else None


def _converted(
    data: bytes, ending: str, size: tuple[int, int], picture: Image.Image, *, mask: bytes | None, notes: list[str]
) -> Converted:
    grey = picture.convert("L")
    return Converted(
        data=data,
        ending=ending,
        width=size[0],
        height=size[1],
        mask=mask,
        difference_hash=appearance.difference_hash(grey),
        sharpness=appearance.sharpness(grey),
        notes=tuple(notes),
    )
