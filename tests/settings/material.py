# SPDX-License-Identifier: Apache-2.0
"""The smallest dataset on which every setting has an effect."""

from __future__ import annotations

import subprocess
from pathlib import Path

from PIL import Image

from tests.daemon.running import ROOT, TRAINER_PYTHON
from tests.harness.waiting import DEADLINE_SECONDS

DEPTH = ("--hidden", "64", "--heads", "2", "--double-blocks", "3", "--single-blocks", "4")
"""Deep enough for --blocks_to_swap 2."""

SIZES = ((80, 72), (64, 96), (120, 64), (70, 70))
"""Sizes that give more than one bucket, and pictures that must be cropped."""
CAPTIONS = (
    "s1gn, {red|blue|grey}, a sign, number 0",
    "s1gn, a sign ||| far away, small;; round, number 1\na second line, s1gn",
    "s1gn; on a wall; number 2",
    None,  # the trigger word is used
)


def make(folder: Path) -> Path:
    """Writes the tiny model, and the pictures in `pictures/`. Returns the folder."""
    program = ROOT / "sd-scripts" / "make_tiny_flux.py"
    subprocess.run([TRAINER_PYTHON, program, *DEPTH, folder], check=True, timeout=DEADLINE_SECONDS)
    pictures = folder / "pictures"
    pictures.mkdir()
    for number, (size, caption) in enumerate(zip(SIZES, CAPTIONS, strict=True)):
        picture = Image.linear_gradient("L").resize(size)
        opacity = Image.radial_gradient("L").resize(size).point(lambda value: 255 - value)
        picture = Image.merge("RGBA", (picture, picture.transpose(Image.Transpose.ROTATE_180), picture, opacity))
        picture.save(pictures / f"p{number}.png")
        if caption is not None:
            (pictures / f"p{number}.txt").write_text(caption)
    return folder
