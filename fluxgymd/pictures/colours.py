# SPDX-License-Identifier: Apache-2.0
"""Turns a decoded picture upright and into sRGB with 8 bits per channel, and separates its alpha.

A trainer reads numbers, not colours: an iPhone's photo in Display P3 that is read as sRGB is pale, and a photo that
its camera marks as turned lies on its side.
"""

import io
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageChops, ImageCms, ImageFile, ImageOps

from fluxgymd.pictures import reading

MOST_DIFFERENCE = 3
"""Of 255 steps. A profile that moves no colour by more is sRGB under another name; there are many such profiles."""
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
"""Pillow's modes of greyscale pictures with more than 8 bits. It clips them when it converts them itself."""


@dataclass(frozen=True, kw_only=True)
class Colours:
    """A picture as people see it. `notes`: clauses on what was changed ("was turned upright")."""

    image: Image.Image
    """RGB, or L for a grey picture. Where `alpha` is transparent, the colours are mixed with white."""
    alpha: Image.Image | None
    """L, of the same size; None if the picture is opaque everywhere."""
    notes: tuple[str, ...]
    """Empty if a program that ignores profiles and orientation sees the same colours and shape."""


def is_plain(image: Image.Image) -> bool:
    """Whether an opened picture, decoded or not, is already as people see it: upright, opaque, sRGB, 8 bits."""
    return (
        image.mode in ("RGB", "L")
        and not image.has_transparency_data
        and _orientation(image) == UPRIGHT
        and ((profile := _profile(image)) is None or _means_srgb(profile, image.mode))
    )


def as_seen(image: Image.Image) -> Colours:
    """The colours of a decoded picture. Raises Unreadable if nothing can be seen of it."""
    profile = _profile(image)
    notes = []
    if _orientation(image) != UPRIGHT:
        image = ImageOps.exif_transpose(image)
        notes.append("was turned upright")
    image, alpha = _split(image)
    image, change = _to_srgb(image, profile)
    notes += [change] if change else []
    if alpha is not None:
        image = Image.composite(image, Image.new(image.mode, image.size, "white"), alpha)
    if isinstance(image, ImageFile.ImageFile):
        image = image.copy()  # which doesn't need the file any more
    image.info = {}  # metadata that describes the picture as it was
    return Colours(image=image, alpha=alpha, notes=tuple(notes))


ORIENTATION, UPRIGHT = 0x0112, 1  # Exif 2.32, 4.6.4


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001 - whatever the parser of damaged metadata raises
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def _profile(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours without alpha, and the alpha if it isn't opaque everywhere."""
    if not image.has_transparency_data or image.mode in DEEP:
        return image, None
    with_alpha = image.convert("RGBA") if image.mode not in ("RGBA", "LA") else image
    alpha = with_alpha.getchannel("A")
    lowest, highest = alpha.getextrema()
    if highest == 0:
        raise reading.Unreadable("is entirely transparent; remove it, or make its colours visible")
    colours = with_alpha.convert(with_alpha.mode[:-1])  # RGB or L
    return colours, None if lowest == 255 else alpha


def _to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """The picture in sRGB, and what was done, empty if nothing had to be."""
    if image.mode in DEEP:
        return _eight_bits(image), "was converted to 8 bits per channel"
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        return _through(image, ImageCms.ImageCmsProfile(lab)), "was converted from LAB to sRGB"
    if image.mode == "CMYK":
        return _from_cmyk(image, profile), "was converted from CMYK to sRGB"
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")  # palettes, YCbCr, HSV: same colours
    if profile is None or _means_srgb(profile, image.mode):
        return image, ""
    try:
        return _through(image, _opened(profile)), f"was converted from {_title(profile)} to sRGB"
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, ""  # A damaged profile, or one for other channels, says nothing; viewers ignore it too.


def _eight_bits(image: Image.Image) -> Image.Image:
    """The brightness on 0..255. Integers of up to 16 bits have their own scale; other numbers that of the picture."""
    if image.mode != "F":
        image = image.convert("I")
    _, highest = image.getextrema()
    assert isinstance(highest, int | float)
    full = next((full for full in (1.0, 255.0, 65535.0) if highest <= full), float(highest))
    if image.mode == "I" and full == 1.0:
        full = 255.0
    scale = 255.0 / full
    return image.point(lambda value: value * scale).convert("L")


def _from_cmyk(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile is not None:
        try:
            return _through(image, _opened(profile))
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # without its profile, like most viewers
    return image.convert("RGB")


def _through(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """The picture through its profile. A grey picture stays grey."""
    converted = ImageCms.profileToProfile(image, profile, _srgb(), outputMode="RGB")
    assert converted is not None
    return converted.convert("L") if image.mode == "L" else converted


@lru_cache(maxsize=16)
def _means_srgb(profile: bytes, mode: str) -> bool:
    """Whether colours stay what they are in sRGB: tried on a cube of colours, or all shades of grey."""
    try:
        tried = _through(_trial(mode), _opened(profile))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    extremes = ImageChops.difference(tried, _trial(mode)).convert("RGB").getextrema()
    return all(isinstance(pair, tuple) and pair[1] <= MOST_DIFFERENCE for pair in extremes)


def _trial(mode: str) -> Image.Image:
    if mode == "L":
        return Image.frombytes("L", (256, 1), bytes(range(256)))
    steps = range(0, 256, 51)
    cube = bytes(value for red in steps for green in steps for blue in steps for value in (red, green, blue))
    return Image.frombytes("RGB", (len(cube) // 3, 1), cube)


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _title(profile: bytes) -> str:
    """What the profile calls itself, e.g. "Display P3"."""
    try:
        title = ImageCms.getProfileDescription(_opened(profile)).strip()
    except (ImageCms.PyCMSError, OSError):
        title = ""
    return "".join(filter(str.isprintable, title))[:40] or "its own colour profile"
