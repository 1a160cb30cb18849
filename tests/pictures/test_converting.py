# SPDX-License-Identifier: Apache-2.0
"""Tests of what is stored for a picture's file: its bytes, or what people see of it."""

import io
from typing import Any

import pytest
from PIL import Image, ImageCms

from fluxgymd.pictures import converting
from fluxgymd.pictures.converting import Converted
from fluxgymd.pictures.reading import Unreadable
from tests.pictures.drawing import bomb, picture

SIZE = (96, 64)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # to be shown turned by 90 degrees clockwise
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")
"""A profile in which red means green, and green red."""
RED = Image.new("RGB", SIZE, (255, 0, 0))


def blue() -> Image.Image:
    """A second frame. Each row has its own, since Pillow leaves the options of one format at the picture."""
    return Image.new("RGB", SIZE, "blue")


HALF = "Its transparent part is white now, and a mask leaves it out of the training."


def cut_out(share: int, mode: str = "RGBA") -> Image.Image:
    """A red picture whose `share` leftmost columns are transparent, over black."""
    made = RED.convert("RGBA")
    made.paste((0, 0, 0, 0), (0, 0, share, SIZE[1]))
    return made.convert(mode)


def saved(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **options)
    return buffer.getvalue()


def opened(converted: Converted) -> Image.Image:
    image = Image.open(io.BytesIO(converted.data))
    image.load()
    assert image.size == (converted.width, converted.height)
    return image


def convert(data: bytes, most_megapixels: float = 50.0) -> Converted:
    return converting.convert(data, most_megapixels=most_megapixels)


@pytest.mark.parametrize(
    ("kind", "image", "options"),
    [
        ("JPEG", picture(1), {}),
        ("JPEG", picture(1).convert("L"), {}),
        ("JPEG", picture(1), {"icc_profile": SRGB}),
        ("JPEG", picture(1), {"icc_profile": b"not a profile"}),
        ("PNG", picture(1), {}),
        ("PNG", picture(1).convert("RGBA"), {}),  # opaque everywhere
        ("PNG", picture(1).quantize(16), {}),
        ("PNG", picture(1).convert("1"), {}),
        ("WEBP", picture(1), {}),
        ("BMP", picture(1), {}),
        ("MPO", picture(1), {"save_all": True, "append_images": [blue()]}),
    ],
)
def test_bytes_that_any_reader_sees_alike_are_stored_as_they_are(
    kind: str, image: Image.Image, options: dict[str, Any]
) -> None:
    data = saved(image, kind, options)
    converted = convert(data)
    assert converted.data == data
    assert (converted.mask, converted.notes) == (None, ())
    assert opened(converted).size == SIZE


@pytest.mark.parametrize(
    ("kind", "image", "options", "ending", "notes"),
    [
        ("GIF", RED, {}, ".png", ["It was converted from GIF to PNG."]),
        ("TIFF", RED, {}, ".png", ["It was converted from TIFF to PNG."]),
        ("AVIF", RED, {}, ".jpg", ["It was converted from AVIF to JPEG."]),
        ("TGA", RED, {}, ".png", ["It was converted from TGA to PNG."]),
        ("PPM", RED, {}, ".png", ["It was converted from PPM to PNG."]),
        ("JPEG", RED.convert("CMYK"), {}, ".jpg", ["It was converted from CMYK to sRGB."]),
        (
            "TIFF",
            Image.new("LAB", SIZE, (138, 208, 195)),  # red
            {},
            ".png",
            ["It was converted from LAB to sRGB.", "It was converted from TIFF to PNG."],
        ),
        (
            "GIF",
            RED,
            {"save_all": True, "append_images": [blue()]},
            ".png",
            ["It is animated, and only the first of its 2 frames is used.", "It was converted from GIF to PNG."],
        ),
        (
            "PNG",
            RED,
            {"save_all": True, "append_images": [blue()]},
            ".png",
            ["It is animated, and only the first of its 2 frames is used."],
        ),
        (
            "TIFF",
            RED,
            {"save_all": True, "append_images": [blue()]},
            ".png",
            ["It has 2 pages, and only the first one is used.", "It was converted from TIFF to PNG."],
        ),
        (
            "PNG",
            Image.new("RGB", SIZE, (0, 255, 0)),
            {"icc_profile": SWAPPED},
            ".png",
            ["It was converted from sRGB built-in to sRGB."],
        ),
        (
            "JPEG",
            Image.new("RGB", SIZE, (0, 255, 0)),
            {"icc_profile": SWAPPED},
            ".jpg",
            ["It was converted from sRGB built-in to sRGB."],
        ),
    ],
)
def test_other_pictures_become_what_people_see(
    kind: str, image: Image.Image, options: dict[str, Any], ending: str, notes: list[str]
) -> None:
    """Each of these is red."""
    converted = convert(saved(image, kind, options))
    stored = opened(converted)
    assert (converted.ending, list(converted.notes), stored.mode) == (ending, notes, "RGB")
    red, green, blue = stored.getpixel((48, 32))  # type: ignore[misc]
    assert red > 235
    assert max(green, blue) < 40
    assert "icc_profile" not in stored.info


@pytest.mark.parametrize(("kind", "exact"), [("PNG", True), ("TIFF", True), ("JPEG", False), ("WEBP", False)])
def test_a_turned_photo_is_stored_upright(kind: str, exact: bool) -> None:
    converted = convert(saved(picture(1), kind, {"exif": TURNED}))
    stored = opened(converted)
    assert kind == "TIFF" or converted.notes[0] == "It was turned upright."  # Pillow turns a TIFF itself
    assert stored.size == (64, 96)
    assert dict(stored.getexif()) == {}
    if exact:
        assert stored.tobytes() == picture(1).transpose(Image.Transpose.ROTATE_270).tobytes()


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_eight_bits_keep_their_brightness(mode: str) -> None:
    image = Image.new("F", SIZE, 0.5) if mode == "F" else Image.new(mode, SIZE, 32768)
    converted = convert(saved(image, "TIFF", {}))
    assert "It was converted to 8 bits per channel." in converted.notes
    assert opened(converted).getpixel((5, 5)) in (127, 128)


@pytest.mark.parametrize(
    ("image", "note", "has_mask"),
    [
        (cut_out(48), HALF, True),
        (cut_out(48).quantize(16), HALF, True),
        (cut_out(95), HALF, True),
        (cut_out(1, "LA"), HALF, True),
        (cut_out(0), None, False),
    ],
)
def test_a_cut_out_object_gets_white_around_it_and_a_mask(
    image: Image.Image, note: str | None, has_mask: bool
) -> None:
    converted = convert(saved(image, "PNG", {}))
    assert converted.notes == ((note,) if note else ())
    assert (converted.mask is not None) is has_mask
    if converted.mask is not None:
        with Image.open(io.BytesIO(converted.mask)) as mask:
            assert (mask.mode, mask.size, mask.getpixel((0, 0)), mask.getpixel((95, 0))) == ("L", SIZE, 0, 255)
        white = opened(converted).convert("RGB").getpixel((0, 0))
        assert white == (255, 255, 255)


def test_a_few_transparent_pixels_or_a_haze_are_no_mask() -> None:
    corner = RED.convert("RGBA")
    corner.putpixel((0, 0), (0, 0, 0, 0))
    haze = RED.convert("RGBA")
    haze.putalpha(51)
    for image, colour in ((corner, (255, 255, 255)), (haze, (255, 204, 204))):
        converted = convert(saved(image, "PNG", {}))
        assert (converted.mask, converted.notes) == (None, ("Its transparent pixels are white now.",))
        assert opened(converted).getpixel((0, 0)) == colour


@pytest.mark.parametrize(
    ("kind", "image", "options", "size"),
    [
        ("JPEG", picture(1, (3000, 1000)), {}, (1732, 577)),
        ("JPEG", picture(1, (3000, 1000)), {"exif": TURNED}, (577, 1732)),
        ("PNG", picture(1, (2000, 2000)), {}, (1000, 1000)),
        ("PNG", cut_out(48).resize((3000, 1000)), {}, (1732, 577)),
    ],
)
def test_a_picture_over_the_limit_is_scaled_down(
    kind: str, image: Image.Image, options: dict[str, Any], size: tuple[int, int]
) -> None:
    converted = convert(saved(image, kind, options), most_megapixels=1.0)
    assert (converted.width, converted.height) == size
    (note,) = [note for note in converted.notes if "scaled" in note]
    across, down = sorted(size, reverse=image.width > image.height)
    sizes = f"from {image.width} x {image.height} to {across} x {down} pixels"
    assert note == f"It was scaled down {sizes}: the limit is 1 megapixels."
    if converted.mask is not None:
        with Image.open(io.BytesIO(converted.mask)) as mask:
            assert mask.size == size


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(Unreadable, match=r"^has 900 megapixels \(30000 x 30000\), but may have at most 200"):
        convert(bomb())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_copies_of_a_photo_look_alike_and_other_photos_do_not(kind: str) -> None:
    def look(seed: int, size: tuple[int, int], kind: str) -> int:
        quality = {} if kind == "PNG" else {"quality": 50}
        return int(convert(saved(picture(seed, size), kind, quality)).difference_hash, 16)

    first = look(1, (960, 640), "PNG")
    assert (first ^ look(1, (960, 640), kind)).bit_count() <= 7
    assert (first ^ look(1, (480, 320), kind)).bit_count() <= 7
    assert (first ^ look(2, (960, 640), kind)).bit_count() > 30


def test_a_blurred_picture_is_less_sharp_than_100() -> None:
    from PIL import ImageFilter

    sharp = Image.effect_mandelbrot((800, 600), (-2.5, -1.5, 1.5, 1.5), 60).convert("RGB")
    blurred = sharp.filter(ImageFilter.GaussianBlur(6))
    assert convert(saved(sharp, "PNG", {})).sharpness > 300
    assert convert(saved(blurred, "PNG", {})).sharpness < 100


def test_a_mask_that_would_leave_nothing_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"^is entirely black, so nothing of its picture would be trained"):
        converting.read_mask(saved(Image.new("L", SIZE), "PNG", {}), width=96, height=64)
    assert converting.read_mask(saved(Image.new("L", SIZE, 255), "PNG", {}), width=96, height=64) is None
