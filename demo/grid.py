# SPDX-License-Identifier: Apache-2.0
"""Puts a training's samples into one picture: a row for each epoch, a column for each prompt.

    python grid.py OUT.png SAMPLE_DIR

The last samples of each epoch are taken (a resumed run may have made an epoch's samples twice).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from PIL import Image, ImageDraw

# my-lora_e000004_01_20261123131507_42.png: epoch, prompt, date, seed
NAME = re.compile(r"_e(?P<epoch>\d{6})_(?P<prompt>\d{2,})_(?P<date>\d{14})(_\d+)?\.png$")
GAP, LABEL_WIDTH = 4, 64
PAPER, INK = (255, 255, 255), (0, 0, 0)


def collect(folder: Path) -> dict[tuple[int, int], Path]:
    """(epoch, prompt) -> the newest sample of it."""
    found: dict[tuple[int, int], tuple[str, Path]] = {}
    for path in folder.iterdir():
        match = NAME.search(path.name)
        if match:
            place = int(match["epoch"]), int(match["prompt"])
            found[place] = max(found.get(place, ("", path)), (match["date"], path))
    return {place: path for place, (_, path) in found.items()}


def load(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def draw(samples: dict[tuple[int, int], Path]) -> Image.Image:
    """The grid. Every cell has the size of the largest sample."""
    epochs = sorted({epoch for epoch, _ in samples})
    prompts = sorted({prompt for _, prompt in samples})
    pictures = {place: load(path) for place, path in samples.items()}
    width = max(picture.width for picture in pictures.values()) + GAP
    height = max(picture.height for picture in pictures.values()) + GAP
    grid = Image.new("RGB", (LABEL_WIDTH + width * len(prompts), height * len(epochs)), PAPER)
    pen = ImageDraw.Draw(grid)
    for row, epoch in enumerate(epochs):
        pen.text((GAP, row * height + GAP), f"epoch {epoch}", fill=INK)
        for column, prompt in enumerate(prompts):
            if (epoch, prompt) in pictures:
                grid.paste(pictures[epoch, prompt], (LABEL_WIDTH + column * width, row * height))
    return grid


def main(out: Path, folder: Path) -> None:
    samples = collect(folder) if folder.is_dir() else {}
    if not samples:
        sys.exit(f"error: there is no sample of an epoch in {folder}")
    draw(samples).save(out)
    print(f"{len(samples)} samples are in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: grid.py OUT.png SAMPLE_DIR")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
