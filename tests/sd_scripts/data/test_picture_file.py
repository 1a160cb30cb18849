# SPDX-License-Identifier: Apache-2.0
"""Pictures as cameras and programs write them are trained as they look, or refused in one sentence."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image, PngImagePlugin

from library.data import images, picture_file, picture_size
from library.data.buckets import Size
from library.errors import TrainerError

SIDE = 32
SIZE = Size(SIDE, SIDE)


def colour(path: Path) -> tuple[list[int], int]:
    """The colour of a single-coloured picture in 8 bits, and its opacity."""
    assert picture_size.read_size(path)[0] == SIZE
    pixels, opacity = images.load_pixels(path, bucket=SIZE, resized=SIZE, interpolation=None)
    first = pixels[0, :, :1, :1]
    assert torch.equal(pixels[0], first.expand_as(pixels[0]))
    return ((first.flatten() + 1) * 127.5).round().int().tolist(), round(float(opacity[0, 0]) * 255)


def palette_with_transparency() -> Image.Image:
    picture = Image.new("P", (SIDE, SIDE), 1)
    picture.putpalette([0, 0, 0, 200, 100, 50])
    picture.info["transparency"] = 1
    return picture


def sixteen_bits() -> Image.Image:
    return Image.fromarray(numpy.full((SIDE, SIDE), 0x80FF, dtype=numpy.uint16))


def plain(mode: str, value: int | tuple[int, ...]) -> Callable[[], Image.Image]:
    return lambda: Image.new(mode, (SIDE, SIDE), value)


@pytest.mark.parametrize(
    ("make", "file_format", "expected", "opacity"),
    [
        (plain("1", 1), "PNG", [255, 255, 255], 255),
        (plain("L", 90), "PNG", [90, 90, 90], 255),
        (plain("LA", (90, 128)), "PNG", [90, 90, 90], 128),
        (plain("RGB", (200, 100, 50)), "BMP", [200, 100, 50], 255),
        (plain("RGBA", (200, 100, 50, 0)), "PNG", [200, 100, 50], 0),
        (plain("CMYK", (0, 255, 255, 0)), "TIFF", [255, 0, 0], 255),
        (plain("P", 0), "PNG", [0, 0, 0], 255),
        (palette_with_transparency, "PNG", [200, 100, 50], 0),
        (sixteen_bits, "PNG", [0x80] * 3, 255),
        (sixteen_bits, "TIFF", [0x80] * 3, 255),
    ],
)
def test_each_type_of_pixels_is_trained_as_it_looks(
    make: Callable[[], Image.Image], file_format: str, expected: list[int], opacity: int, tmp_path: Path
) -> None:
    """The file's name does not matter: programs save TIFFs as .png."""
    make().save(tmp_path / "0.png", format=file_format)
    assert colour(tmp_path / "0.png") == (expected, opacity)


@pytest.mark.parametrize(
    ("mode", "value", "what"),
    [("F", 0.5, "floating-point numbers"), ("I", 70_000, "32-bit integers"), ("LAB", (128, 0, 0), "LAB")],
)
def test_pixels_that_would_be_turned_into_something_else_are_refused(
    mode: str, value: float, what: str, tmp_path: Path
) -> None:
    """Pillow's own conversion makes a float picture from 0 to 1 black, and LAB noise."""
    Image.new(mode, (SIDE, SIDE), value).save(tmp_path / "0.png", format="TIFF")
    sentence = rf"0\.png is a TIFF file that holds .*{what}.*: save it as a PNG with 8 bits per channel"
    with pytest.raises(TrainerError, match=sentence):
        picture_size.read_size(tmp_path / "0.png")


def with_text(picture: Image.Image, path: Path, size: int, *, behind: bool) -> None:
    """Saves with a text chunk, in which ComfyUI keeps its workflow. `behind`: after the pixels."""
    texts = PngImagePlugin.PngInfo()
    if behind:
        texts.add(b"zTXt", b"workflow\0\0" + zlib.compress(b"x" * size), after_idat=True)
    else:
        texts.add_text("workflow", "x" * size, zip=True)
    picture.save(path, pnginfo=texts)


@pytest.mark.parametrize("behind", [False, True])
def test_long_texts_inside_a_png_are_no_reason_to_refuse_it(behind: bool, tmp_path: Path) -> None:
    picture = Image.new("RGB", (SIDE, SIDE), (200, 100, 50))
    with_text(picture, tmp_path / "0.png", 2_000_000, behind=behind)
    with pytest.raises(ValueError, match="Decompressed data too large"), Image.open(tmp_path / "0.png") as opened:
        opened.load()
    assert colour(tmp_path / "0.png") == ([200, 100, 50], 255)


def test_the_largest_current_photos_are_read_and_larger_ones_are_refused(tmp_path: Path) -> None:
    """A camera's 102 megapixels (11648 x 8736) are above Pillow's own limit."""
    Image.new("1", (11_648, 8_736)).save(tmp_path / "photo.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert picture_size.read_size(tmp_path / "photo.png")[0] == Size(11_648, 8_736)
    Image.new("1", (21_000, 10_000)).save(tmp_path / "larger.png")
    sentence = r"21000 x 10000 pixels \(210 megapixels\), but at most 200 megapixels are supported: scale it down"
    with pytest.raises(TrainerError, match=sentence):
        picture_size.read_size(tmp_path / "larger.png")


def test_a_damaged_picture_with_texts_is_still_damaged(tmp_path: Path) -> None:
    with_text(Image.new("RGB", (SIDE, SIDE)), tmp_path / "0.png", 2_000_000, behind=False)
    content = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(content[:-30])
    with pytest.raises(TrainerError, match="is damaged or not a picture"):
        picture_size.read_size(tmp_path / "0.png")


def test_only_texts_are_skipped(tmp_path: Path) -> None:
    picture = Image.new("RGB", (SIDE, SIDE), (200, 100, 50))
    picture.save(tmp_path / "plain.png")
    with_text(picture, tmp_path / "0.png", 100, behind=False)
    assert picture_file.without_texts((tmp_path / "0.png").read_bytes()) == (tmp_path / "plain.png").read_bytes()
