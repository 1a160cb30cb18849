# SPDX-License-Identifier: Apache-2.0
"""Draws the demo's pictures: robot heads of four colours, each with its caption beside it.

    python make_pictures.py OUT

The bytes are a function of this file. Shapes are coarse and pictures small, because the tiny Flux sees one colour
for each 8x8 pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 128
COLOURS = {"red": (214, 48, 42), "green": (40, 168, 72), "blue": (48, 84, 220), "yellow": (240, 200, 32)}
BACKGROUND, DARK, LIGHT = (190, 190, 196), (24, 24, 30), (250, 250, 250)
# Where each picture of a colour moves the head, in pixels: right, down.
SHIFTS = ((0, 0), (-8, 0), (8, 0))


def draw(colour: tuple[int, int, int], shift: tuple[int, int]) -> Image.Image:
    """One head on an even background."""
    picture = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    pen = ImageDraw.Draw(picture)

    def box(left: int, top: int, right: int, bottom: int, fill: tuple[int, int, int], *, round_: int = 0) -> None:
        right_, down = shift
        corners = (left + right_, top + down, right + right_ - 1, bottom + down - 1)
        pen.rounded_rectangle(corners, radius=round_, fill=fill)

    box(60, 8, 68, 28, DARK)
    box(24, 24, 104, 112, colour, round_=14)
    for left in (36, 72):
        box(left, 40, left + 20, 64, LIGHT)
        box(left + 6, 48, left + 16, 64, DARK)
    box(40, 84, 88, 96, DARK)
    return picture


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, colour in COLOURS.items():
        for number, shift in enumerate(SHIFTS, start=1):
            stem = out / f"{name}-{number}"
            draw(colour, shift).save(stem.with_suffix(".png"))
            stem.with_suffix(".txt").write_text(f"r0b0t, a {name} head\n", encoding="utf-8")
    print(f"{len(COLOURS) * len(SHIFTS)} pictures with captions are in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_pictures.py OUT")
    main(Path(sys.argv[1]))
