# SPDX-License-Identifier: Apache-2.0
"""The demo: after half of its epochs, prompts already give their colours, where the base model gave grey."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from PIL import Image

from library.sample import contact_sheet
from tests.harness.waiting import BUILD_SECONDS
from tests.sd_scripts.running import ROOT, Settings, make_models, train

DEMO = ROOT / "demo"
SPEC = tomllib.loads((DEMO / "demo.toml").read_text(encoding="utf-8"))
# Keys of the spec file, and flags of the trainer.
FLAGS = {"seed": "seed", "learning_rate": "learning_rate", "network_dim": "network_dim"}
EPOCHS = SPEC["epochs"] // 2
# For each colour that a prompt may name: whether red, green and blue are strong in the middle of the sign.
STRONG = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEMO / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )


def colour_of(sheet: Image.Image, cell: contact_sheet.Box) -> tuple[int, ...]:
    """The mean colour of a rectangle just below the middle of one sample, where every sign has its colour."""
    ring = (cell.left + 44, cell.top + 76, cell.left + 84, cell.top + 92)
    pixel = sheet.crop(ring).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel


def test_the_demo_shows_that_something_was_learnt(tmp_path: Path) -> None:
    models = make_models(tmp_path / "models")
    assert run("make_pictures.py", tmp_path / "pictures").returncode == 0
    settings = Settings(models=models, folder=tmp_path, pictures=tmp_path / "pictures", repeats=SPEC["repeats"])
    (tmp_path / "dataset.toml").write_text(
        f"[general]\ncaption_extension = '.txt'\n[[datasets]]\nresolution = {SPEC['resolution']}\n"
        f"[[datasets.subsets]]\nimage_dir = '{settings.pictures}'\nnum_repeats = {SPEC['repeats']}\n"
    )
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(SPEC["sample_prompts"]))
    words = [f"--{flag} {SPEC[key]}" for key, flag in FLAGS.items()]
    for name, value in SPEC["trainer_options"].items():
        words += [f"--{name}" if value is True else f"--{name} {value}"] if value is not False else []
    words += [f"--max_train_epochs {EPOCHS} --sample_every_n_epochs {EPOCHS} --sample_prompts {prompts}"]
    train(settings.plus(" ".join(words)))

    layout = contact_sheet.Layout(rows=len(SPEC["sample_prompts"]), columns=2, side=SPEC["resolution"])
    with Image.open(settings.output_dir / "sample" / "lora-contact-sheet.png") as sheet:
        assert sheet.size == layout.size
        for row, prompt in enumerate(SPEC["sample_prompts"]):
            before, after = (colour_of(sheet, layout.cell(row, column)) for column in range(2))
            assert max(before) - min(before) < 30, (prompt, before)
            strong = next(value for name, value in STRONG.items() if name in prompt)
            high = min(channel for channel, is_strong in zip(after, strong, strict=True) if is_strong)
            low = max(channel for channel, is_strong in zip(after, strong, strict=True) if not is_strong)
            assert high > low + 40, (prompt, after)


def test_the_pictures_are_always_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert "12 pictures" in run("make_pictures.py", tmp_path / name).stdout
    files = sorted((tmp_path / "a").iterdir())
    assert len(files) == 24
    assert all((tmp_path / "b" / path.name).read_bytes() == path.read_bytes() for path in files)
    assert (tmp_path / "a" / "disc-1.txt").read_text() == "s1gn, a red disc\n"


def test_without_arguments_the_usage_is_shown() -> None:
    assert run("make_pictures.py").stderr == "usage: make_pictures.py OUT\n"
