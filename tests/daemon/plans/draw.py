# SPDX-License-Identifier: Apache-2.0
"""Draws pictures, and one or two jobs that train on them: a pure function of the seed and the number of the draw.

A job is drawn as the words that a user would type after `fluxgymctl submit NAME`. The second job differs from the
first in a few of them, and perhaps in a caption, so it finds some of its caches made and encodes the rest.
"""

from __future__ import annotations

import random
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SIDES = (40, 64, 72, 96, 100, 128, 150)
"""Sides of pictures in pixels: more and less than the resolutions, and none below a bucket's step of 32."""
CAPTIONS = ("a sign, {red|blue}", "s1gn, a sign,\nit is grey", "on a wall;\n\nseen from afar\nby day", "s1gn's post")

TRAINED = "-o network_train_unet_only -o mixed_precision=no -o t5xxl_max_token_length=32 --network-dim 2"
"""What all jobs have, for speed."""
UNCACHED = "-o cache_text_encoder_outputs=false -o cache_text_encoder_outputs_to_disk=false"
SETTINGS: Mapping[str, Sequence[str]] = {
    "batch": ("", "-o train_batch_size=2", "-o train_batch_size=3", "-o train_batch_size=4"),
    "accumulation": ("", "", "-o gradient_accumulation_steps=2", "-o gradient_accumulation_steps=3"),
    "sizes": (
        *("--resolution 64", "--resolution 96", "--resolution 128", "--resolution 128 -o bucket_reso_steps=64"),
        *("--resolutions 64 --resolutions 128", "--resolutions 96 --resolutions 64 -o max_bucket_reso=128"),
        *("--resolution 64 -o min_bucket_reso=64", "--resolutions 128 --resolutions 96 -o min_bucket_reso=64"),
        *("--resolution 96 --no-enable-bucket", "--resolutions 64 --resolutions 96 --no-enable-bucket"),
        # At 64, the smaller side of a long picture would be less than a step.
        *("--resolution 96 -o bucket_no_upscale", "--resolutions 128 --resolutions 96 -o bucket_no_upscale"),
    ),
    "epochs": ("--epochs 1", "--epochs 2", "--epochs 3"),
    "repeats": ("--repeats 1", "--repeats 2", "--repeats 3"),
    "trigger": (
        *("", "--trigger-word s1gn", "--trigger-word 'a s1gn, tall'"),
        *("--trigger-word s1gn --trigger-place missing", "--trigger-word s1gn --trigger-place none"),
    ),
    "validation": ("", "", "", "-o validation_split=0.34", "-o validation_split=0.5"),
    "augmentation": ("", "", "", "-o flip_aug", "-o alpha_mask", "-o flip_aug -o alpha_mask"),
    "caches": (
        *("", "", "", "", "", "-o cache_latents_to_disk=false", "-o cache_text_encoder_outputs_to_disk=false"),
        *(f"{UNCACHED} -o enable_wildcard", f"{UNCACHED} -o shuffle_caption"),
    ),
    "saves": ("", "--save-every-epochs 1", "-o save_every_n_steps=2", "-o ema_decay=0.9"),
    "samples": ("", "", "", "--sample-prompt 'a sign --w 64 --h 64 --s 1' --sample-every-epochs 1"),
    "seed": ("", "--seed 7"),
}
"""The words for each setting, one of which is drawn. None of them contradicts those for another setting."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    size: tuple[int, int]
    caption: str | None


@dataclass(frozen=True, kw_only=True)
class Folder:
    """`stored`: the pictures are added to a stored dataset. `alpha`: they have an alpha channel."""

    name: str
    pictures: tuple[Picture, ...]
    stored: bool
    alpha: bool

    @property
    def given(self) -> str:
        """What the user writes for it, in the folder above it."""
        return self.name if self.stored else f"./{self.name}"


@dataclass(frozen=True, kw_only=True)
class DrawnJob:
    """`words`: what follows the name. `folders`: the names of its folders, in the order of its parts; a job without
    parts has one. `recaptioned`: a folder whose first picture gets another caption before this job."""

    words: tuple[str, ...]
    folders: tuple[str, ...]
    recaptioned: str | None = None

    @property
    def has_parts(self) -> bool:
        return "--part" in self.words


@dataclass(frozen=True, kw_only=True)
class Draw:
    folders: tuple[Folder, ...]
    jobs: tuple[DrawnJob, ...]

    def __str__(self) -> str:
        pictures = sum(len(folder.pictures) for folder in self.folders)
        edit = next((f" (a new caption in {job.recaptioned})" for job in self.jobs if job.recaptioned), "")
        return f"{pictures} pictures; " + f"; then{edit} ".join(shlex.join(job.words) for job in self.jobs)


def draw(*, seed: int, number: int) -> Draw:
    dice = random.Random(f"{seed} {number}")
    folders = tuple(_folder(dice, f"signs{index}") for index in range(dice.randint(1, 3)))
    settings = {topic: dice.choice(choices) for topic, choices in SETTINGS.items()}
    pictures = _pictures(dice, folders)
    jobs = [_job(settings, pictures)]
    if dice.random() < 0.5:
        if dice.random() < 0.3:
            pictures = _pictures(dice, folders)
        settings |= {topic: dice.choice(SETTINGS[topic]) for topic in dice.sample(sorted(SETTINGS), 2)}
        edited = dice.choice((None, folders[0].name))
        jobs.append(_job(settings, pictures, recaptioned=edited))
    return Draw(folders=folders, jobs=tuple(jobs))


def _folder(dice: random.Random, name: str) -> Folder:
    pictures = tuple(
        Picture(
            size=(dice.choice(SIDES), dice.choice(SIDES)),
            caption=None if dice.random() < 0.2 else f"{dice.choice(CAPTIONS)} {dice.randint(1, 4)}",
        )
        for _ in range(dice.randint(3, 5))
    )
    return Folder(name=name, pictures=pictures, stored=dice.random() < 0.4, alpha=dice.random() < 0.5)


def _pictures(dice: random.Random, folders: Sequence[Folder]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the words that give a job its pictures, the names of the folders)."""
    if len(folders) == 1 and dice.random() < 0.7:
        return ("--dataset", folders[0].given), (folders[0].name,)
    words = []
    for index, folder in enumerate(folders):
        keys = dice.choice(("", ",repeats=1", ",repeats=2"))
        if index and dice.random() < 0.4:
            keys += ",regularisation"
        words += ["--part", f"{folder.given}{keys}{dice.choice(('', ',caption=a shape'))}"]
    return tuple(words), tuple(folder.name for folder in folders)


def _job(
    settings: Mapping[str, str], pictures: tuple[tuple[str, ...], tuple[str, ...]], *, recaptioned: str | None = None
) -> DrawnJob:
    words, folders = pictures
    return DrawnJob(
        words=(*words, *shlex.split(" ".join([*settings.values(), TRAINED]))),
        folders=folders,
        recaptioned=recaptioned,
    )
