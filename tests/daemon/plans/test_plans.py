# SPDX-License-Identifier: Apache-2.0
"""Jobs do what their plans said: two of them here, any number in `./dev soak plans`."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.daemon.plans.draw import TRAINED, Draw, DrawnJob, Folder, Picture
from tests.daemon.plans.playing import play
from tests.daemon.running import RunningDaemon

SIGNS = Folder(
    name="signs",
    pictures=(
        Picture(size=(150, 100), caption="a sign,\nred"),
        Picture(size=(72, 128), caption=None),
        Picture(size=(96, 96), caption="s1gn's post"),
        Picture(size=(150, 96), caption="a sign on a wall"),
        Picture(size=(40, 64), caption="a sign on a wall"),
    ),
    stored=False,
    alpha=True,
)
OTHERS = Folder(
    name="others",
    pictures=tuple(Picture(size=size, caption=None) for size in ((64, 64), (128, 72), (100, 150))),
    stored=True,
    alpha=False,
)
WORDS = (
    f"--part ./signs,repeats=2 --part 'others,regularisation,caption=a shape' {TRAINED} --trigger-word s1gn "
    "--resolutions 96 --resolutions 64 -o train_batch_size=3 -o gradient_accumulation_steps=2 "
    "-o validation_split=0.34 -o flip_aug -o save_every_n_steps=2"
)


def job(more: str, *, recaptioned: str | None = None) -> DrawnJob:
    words = tuple(shlex.split(f"{WORDS} {more}"))
    return DrawnJob(words=words, folders=("signs", "others"), recaptioned=recaptioned)


TWO = Draw(folders=(SIGNS, OTHERS), jobs=(job("--epochs 2"), job("--epochs 1 --seed 7", recaptioned="others")))


def test_jobs_do_what_their_plans_said_and_the_second_encodes_only_the_changed_caption(
    daemon: RunningDaemon, model: Path, folder: Path
) -> None:
    first, second = (told.plan for told in play(daemon, model, TWO, folder))
    assert first.time is None  # nothing has run here
    assert second.time is not None
    assert second.training is not None
    assert (second.training.latents_to_encode, second.training.texts_to_encode) == (0, 1)
    assert (second.time.jobs, second.time.rough) == (1, False)
    assert second.time.seconds == second.time.seconds_per_step * second.training.total_steps
