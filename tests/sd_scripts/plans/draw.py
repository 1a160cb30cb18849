# SPDX-License-Identifier: Apache-2.0
"""Draws the settings on which steps and buckets depend, and the pictures: a pure function of seed and number."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SIDES = (40, 64, 72, 96, 100, 128, 150)
"""Sides of pictures in pixels: more and less than the resolutions, and none below a bucket's step."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder of pictures. `keys`: those of its subset in dataset.toml."""

    sizes: tuple[tuple[int, int], ...]
    keys: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of the `[[datasets]]`. `folders`: indices of the draw's folders."""

    keys: Mapping[str, object]
    folders: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Draw:
    folders: tuple[Folder, ...]
    parts: tuple[Part, ...]
    words: str
    """More of the command line."""

    def toml(self, root: Path) -> str:
        """dataset.toml, with the folders in `root`."""
        lines = ["[general]", "caption_extension = '.txt'"]
        for part in self.parts:
            lines += ["[[datasets]]", *_pairs(part.keys)]
            for index in part.folders:
                lines += ["[[datasets.subsets]]", f"image_dir = '{root / str(index)}'"]
                lines += _pairs(self.folders[index].keys)
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        pictures = sum(len(folder.sizes) for folder in self.folders)
        return f"{pictures} pictures; {[dict(part.keys) for part in self.parts]}; {self.words}"


def draw(*, seed: int, number: int) -> Draw:
    dice = random.Random(f"{seed} {number}")
    split = dice.choice((0, 0, 0.34, 0.5))
    folders = [_folder(dice, regularises=index > 0 and dice.random() < 0.3) for index in range(dice.randint(1, 3))]
    parts = [
        Part(
            keys=_buckets(dice) | {"batch_size": dice.randint(1, 4)} | ({"validation_split": split} if split else {}),
            folders=(0, *(index for index in range(1, len(folders)) if dice.random() < 0.8)),
        )
        for _ in range(dice.choice((1, 1, 2)))
    ]
    words = [f"--max_train_epochs {dice.randint(1, 3)}", f"--gradient_accumulation_steps {dice.randint(1, 4)}"]
    words += dice.choice(
        ([], ["--save_every_n_steps 2"], ["--save_last_n_epochs 1"], ["--save_every_n_epochs 2"], ["--ema_decay 0.9"])
    )
    words += dice.choice(
        (
            ["--cache_latents_to_disk", "--cache_text_encoder_outputs", "--cache_text_encoder_outputs_to_disk"],
            ["--cache_latents_to_disk"],
        )
    )
    return Draw(folders=tuple(folders), parts=tuple(parts), words=" ".join(words))


def _folder(dice: random.Random, *, regularises: bool) -> Folder:
    sizes = tuple((dice.choice(SIDES), dice.choice(SIDES)) for _ in range(dice.randint(3, 5)))
    keys: dict[str, object] = {"num_repeats": dice.randint(1, 3), "class_tokens": "s1gn"}
    if dice.random() < 0.2:
        keys["flip_aug"] = True
    if regularises:
        keys["is_reg"] = True
    return Folder(sizes=sizes, keys=keys)


def _buckets(dice: random.Random) -> dict[str, object]:
    resolution: int | list[int] = dice.choice((64, 96, 128, [96, 64], [64, 128]))
    if dice.random() < 0.3:
        return {"resolution": resolution}
    # At 64, the smaller side of a long picture would be less than a step.
    natural = resolution != 64 and dice.random() < 0.3
    return {
        "resolution": resolution,
        "enable_bucket": True,
        "bucket_reso_steps": dice.choice((32, 64)),
        "min_bucket_reso": 64,
        "max_bucket_reso": dice.choice((128, 192)),
        **({"bucket_no_upscale": True, "bucket_reso_steps": 32} if natural else {}),
    }


def _pairs(keys: Mapping[str, object]) -> Sequence[str]:
    return [f"{name} = {str(value).lower() if value is True else repr(value)}" for name, value in keys.items()]
