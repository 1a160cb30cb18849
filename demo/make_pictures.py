# SPDX-License-Identifier: Apache-2.0
"""Draws the demo's pictures: four signs, each on three shades of grey, with a caption beside each picture.

    python make_pictures.py OUT

The bytes are a function of this file. The signs are coarse, because the tiny Flux sees one colour for each 8x8
pixels, and each has a colour and a shape of its own, so that a sample shows whether its prompt was understood.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 128
TRIGGER = "s1gn"
GREYS = (152, 176, 200)
Colour = tuple[int, int, int]
RED, GREEN, BLUE, YELLOW = (220, 40, 36), (32, 168, 64), (44, 76, 224), (244, 204, 24)


def disc(pen: ImageDraw.ImageDraw, _grey: Colour) -> None:
    pen.ellipse((16, 16, 111, 111), fill=RED)


def cross(pen: ImageDraw.ImageDraw, _grey: Colour) -> None:
    pen.rectangle((48, 16, 79, 111), fill=GREEN)
    pen.rectangle((16, 48, 111, 79), fill=GREEN)


def frame(pen: ImageDraw.ImageDraw, grey: Colour) -> None:
    pen.rectangle((16, 16, 111, 111), fill=BLUE)
    pen.rectangle((48, 48, 79, 79), fill=grey)


def roof(pen: ImageDraw.ImageDraw, _grey: Colour) -> None:
    pen.polygon(((64, 16), (120, 111), (8, 111)), fill=YELLOW)


# Caption -> what is drawn.
SIGNS: dict[str, Callable[[ImageDraw.ImageDraw, Colour], None]] = {
    "a red disc": disc,
    "a green cross": cross,
    "a blue frame": frame,
    "a yellow roof": roof,
}


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for caption, draw in SIGNS.items():
        for number, shade in enumerate(GREYS, start=1):
            grey = (shade, shade, shade)
            picture = Image.new("RGB", (SIDE, SIDE), grey)
            draw(ImageDraw.Draw(picture), grey)
            stem = out / f"{draw.__name__}-{number}"
            picture.save(stem.with_suffix(".png"))
            stem.with_suffix(".txt").write_text(f"{TRIGGER}, {caption}\n", encoding="utf-8")
    print(f"{len(SIGNS) * len(GREYS)} pictures with captions are in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_pictures.py OUT")
    main(Path(sys.argv[1]))
