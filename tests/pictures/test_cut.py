# SPDX-License-Identifier: Apache-2.0
"""Tests of cutting a rectangle out of a picture, and of making a mask its alpha."""

from pathlib import Path

import pytest
from PIL import Image

from fluxgymd.pictures.cut import cut

WHOLE = Image.linear_gradient("L").resize((60, 40)).convert("RGB")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    WHOLE.save(tmp_path / "a.png", icc_profile=b"a profile", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    return tmp_path / "a.png"


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    Image.radial_gradient("L").resize((60, 40)).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def test_a_rectangle_keeps_its_pixels(picture: Path, tmp_path: Path) -> None:
    cut(picture, tmp_path / "cut.png", box=(10, 5, 50, 40), mask=None)
    with Image.open(tmp_path / "cut.png") as made:
        assert made.mode == "RGB"
        assert made.tobytes() == WHOLE.crop((10, 5, 50, 40)).tobytes()
        assert {"icc_profile", "exif"}.isdisjoint(made.info)


@pytest.mark.parametrize("box", [None, (10, 5, 50, 40)])
def test_a_mask_becomes_alpha_and_is_cut_too(
    picture: Path, mask: Path, tmp_path: Path, box: tuple[int, int, int, int] | None
) -> None:
    cut(picture, tmp_path / "cut.png", box=box, mask=mask)
    with Image.open(tmp_path / "cut.png") as made, Image.open(mask) as alpha:
        assert made.mode == "RGBA"
        whole = box or (0, 0, 60, 40)
        assert made.convert("RGB").tobytes() == WHOLE.crop(whole).tobytes()
        assert made.getchannel("A").tobytes() == alpha.crop(whole).tobytes()


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ((0, 0, 61, 40), "The rectangle from (0, 0) to (61, 40) is not within the picture of 60 x 40 pixels."),
        ((-1, 0, 60, 40), "The rectangle from (-1, 0) to (60, 40) is not within the picture of 60 x 40 pixels."),
        ((9, 0, 9, 40), "The rectangle from (9, 0) to (9, 40) is not within the picture of 60 x 40 pixels."),
        (None, "Neither a rectangle nor a mask is given, so there is nothing to cut."),
    ],
)
def test_a_rectangle_outside_of_the_picture_is_refused(
    picture: Path, tmp_path: Path, box: tuple[int, int, int, int] | None, sentence: str
) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole sentence is compared
        cut(picture, tmp_path / "cut.png", box=box, mask=None)
    assert str(refused.value) == sentence
    assert not (tmp_path / "cut.png").exists()


def test_a_mask_of_another_size_is_refused(picture: Path, tmp_path: Path) -> None:
    Image.new("L", (30, 20)).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"has 30 x 20 pixels, but its picture has 60 x 40\.$"):
        cut(picture, tmp_path / "cut.png", box=None, mask=tmp_path / "mask.png")


def test_a_file_that_exists_is_not_replaced(picture: Path, mask: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        cut(picture, picture, box=None, mask=mask)
    with Image.open(picture) as still:
        assert still.tobytes() == WHOLE.tobytes()
