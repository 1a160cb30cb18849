# SPDX-License-Identifier: Apache-2.0
"""Tests of thumbnails."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fluxgymd.pictures.thumbnail import thumbnail
from tests.harness.waiting import DEADLINE_SECONDS


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1024, 512), (256, 128)), ((512, 1024), (128, 256)), ((100, 50), (100, 50)), ((3000, 2), (256, 1))],
)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif"])
def test_the_longer_side_is_bounded(
    tmp_path: Path, name: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    Image.new("RGB", size, "red").save(tmp_path / name)
    thumbnail(tmp_path / name, tmp_path / "small.jpg", side=256)
    with Image.open(tmp_path / "small.jpg") as small:
        assert (small.format, small.size) == ("JPEG", expected)
        red, green, blue = small.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
        assert red > 240
        assert max(green, blue) < 15
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, "small.jpg"])


def test_it_is_upright_and_a_transparent_place_is_white(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (40, 20), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 20, 20))  # the left half
    turned = Image.Exif()
    turned[0x0112] = 6  # shown turned by 90 degrees clockwise
    picture.save(tmp_path / "a.png", exif=turned)
    thumbnail(tmp_path / "a.png", tmp_path / "small.jpg", side=256)
    with Image.open(tmp_path / "small.jpg") as small:
        assert small.size == (20, 40)
        assert small.getpixel((10, 5)) == (255, 255, 255)
        assert small.getpixel((10, 35)) != (255, 255, 255)


def test_the_program_replaces_a_thumbnail_and_names_a_picture_that_is_none(tmp_path: Path, checkout: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "small.jpg").write_bytes(b"old")

    def run(name: str) -> subprocess.CompletedProcess[str]:
        words: list[str | Path] = [sys.executable, "-m", "fluxgymd.pictures.thumbnail"]
        words += [tmp_path / name, tmp_path / "small.jpg", "32"]
        return subprocess.run(words, cwd=checkout, capture_output=True, text=True, timeout=DEADLINE_SECONDS)

    assert run("a.png").returncode == 0
    made = (tmp_path / "small.jpg").read_bytes()
    assert made[:3] == b"\xff\xd8\xff"
    done = run("b.png")
    assert (done.returncode, done.stderr) == (
        1,
        f"The picture {tmp_path}/b.png is empty; replace it or remove it from the dataset.\n",
    )
    assert (tmp_path / "small.jpg").read_bytes() == made
