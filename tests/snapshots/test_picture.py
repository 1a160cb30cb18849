# SPDX-License-Identifier: Apache-2.0
"""Tests of which pictures can be opened, and of the error for each that cannot."""

import os
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from fluxgymd.snapshots import picture
from fluxgymd.snapshots.contents import Unfit

INSTEAD = "replace it or remove it from the dataset."


def problem(path: Path) -> str:
    """Returns the error about a picture, without its beginning."""
    with pytest.raises(Unfit) as refused:
        picture.check(path)
    assert refused.value.path == path
    sentence = str(refused.value)
    beginning = f"The picture {path} "
    assert sentence.startswith(beginning)
    return sentence.removeprefix(beginning)


def noise(path: Path) -> Path:
    """Writes a picture of noise, which barely compresses, so that a truncated file lacks pixels."""
    Image.effect_noise((64, 64), 90.0).convert("RGB").save(path)
    return path


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_a_picture_can_be_of_another_format_than_its_name_says(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path, format=kind)
    assert picture.check(path) is False


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.webp", "b.bmp"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_torn_picture_is_damaged(tmp_path: Path, name: str, share: float) -> None:
    torn = noise(tmp_path / name)
    data = torn.read_bytes()
    torn.write_bytes(data[: int(len(data) * share)])
    assert problem(torn) == f"is damaged: its data is truncated or invalid; {INSTEAD}"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", f"is empty; {INSTEAD}"),
        (bytes(1000), f"is filled with zeros, as after a crash; {INSTEAD}"),
        (b"not a picture", f"is not a picture; {INSTEAD}"),
        (b"\x89PNG\r\n\x1a\n", f"is damaged: its data is truncated or invalid; {INSTEAD}"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
            "is a Git LFS pointer to a picture; fetch the picture with `git lfs pull`.",
        ),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "is a web page; download the picture itself."),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC picture; convert it to PNG or JPEG."),
        (b"\0\0\0\x18ftypisom\0\0\0\0isom", "is a video or a camera's raw file; convert it to PNG or JPEG."),
        (b"\xff\x0a" + bytes(range(60)), "is a JPEG XL picture; convert it to PNG or JPEG."),
    ],
)
def test_a_file_that_is_not_a_picture_is_called_what_it_is(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert problem(path) == told


def test_a_format_that_only_a_program_can_draw_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path, format="EPS")
    assert problem(path) == "has the unsupported format EPS; convert it to PNG or JPEG."


def test_a_photo_of_102_megapixels_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("L", (11648, 8736), 90).save(path, quality=10)
    assert picture.check(path) is False


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert problem(path) == "has 400 megapixels (20000 x 20000), but may have at most 200; scale it down."


@pytest.mark.parametrize("packed", [True, False])
def test_text_in_a_picture_is_no_reason_to_refuse_it(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "a.png"
    texts = PngImagePlugin.PngInfo()
    for number in range(3):
        texts.add_text(f"workflow {number}", "x" * 30_000_000, zip=packed)
        texts.add_itxt(f"prompt {number}", "x" * 30_000_000, zip=packed)
    Image.new("RGB", (64, 64)).save(path, pnginfo=texts)
    assert picture.check(path) is False


def test_an_animation_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert picture.check(path) is True


def test_a_name_that_is_not_utf8_is_accepted(tmp_path: Path) -> None:
    assert picture.check(noise(tmp_path / os.fsdecode(b"caf\xe9.png"))) is False
