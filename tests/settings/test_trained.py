# SPDX-License-Identifier: Apache-2.0
"""Tests of what a job's settings make of its pictures and captions: the trainer itself reads the snapshot and the
dataset.toml that the daemon writes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fluxgym.messages import Context, TriggerPlace
from fluxgymd.datasets import snapshot
from fluxgymd.trainers import dataset_toml
from tests.daemon.running import TRAINER_PYTHON
from tests.harness.waiting import DEADLINE_SECONDS
from tests.settings.tables import TRAINER

CAPTIONS = {"a": "a cat,\ngrey\n", "b": "C4T, a mat", "c": None}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a wide picture, an upright photo of 3:4, and a square without a caption."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, size in {"a": (160, 90), "b": (120, 160), "c": (70, 70)}.items():
        Image.new("RGB", size).save(folder / f"{name}.png")
        if caption := CAPTIONS[name]:
            (folder / f"{name}.txt").write_text(caption)
    return folder


def trained(contexts: list[Context], pictures: Path, place: Path) -> list[list[dict[str, Any]]]:
    """Takes a snapshot for each job, and returns what the trainer would train of it."""
    files = []
    for number, context in enumerate(contexts):
        folder = place / str(number)
        folder.mkdir()
        snapshot.take(pictures, folder / "dataset", dataset_toml.captions(context))
        files.append(folder / "dataset.toml")
        files[-1].write_bytes(dataset_toml.render(context, folder / "dataset"))
    program = Path(__file__).with_name("ask_dataset.py")
    done = subprocess.run(
        [TRAINER_PYTHON, program, TRAINER, *files],
        check=True,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    found: list[list[dict[str, Any]]] = json.loads(done.stdout)
    return found


def job(**changes: Any) -> Context:
    usual: dict[str, Any] = {"name": "x", "resolution": 512, "repeats": 3, "trigger_word": "c4t"}
    return Context(**(usual | changes))


def test_the_text_of_each_picture(pictures: Path, tmp_path: Path) -> None:
    """An old job trains the first line, and uses its trigger word only where a caption is missing."""
    places = [TriggerPlace.FIRST, TriggerPlace.MISSING, TriggerPlace.NONE, None]
    found = trained([job(trigger_place=place) for place in places], pictures, tmp_path)
    assert [[picture["text"] for picture in each] for each in found] == [
        ["c4t, a cat, grey", "c4t, a mat", "c4t"],
        ["a cat, grey", "C4T, a mat", "c4t"],
        ["a cat, grey", "C4T, a mat", ""],
        ["a cat,", "C4T, a mat", "c4t"],
    ]
    assert [any(picture["moreLines"] for picture in each) for each in found] == [False, False, False, True]


def test_a_photo_is_trained_whole(pictures: Path, tmp_path: Path) -> None:
    sizes = (64, 128, 256, 512, 800, 1024, 4096)
    found = trained([job(resolution=size, enable_bucket=True) for size in sizes], pictures, tmp_path)
    kept = {
        size: [round(_kept(picture["bucket"], size_of), 2) for picture, size_of in zip(each, SIZES, strict=True)]
        for size, each in zip(sizes, found, strict=True)
    }
    assert all(share >= 0.94 for size in sizes if size >= 256 for share in kept[size]), kept
    assert kept[64] == [0.56, 0.75, 1.0]  # too small for anything but a square
    (square,) = trained([job(enable_bucket=False)], pictures, tmp_path / "0")
    assert [picture["bucket"] for picture in square] == [[512, 512]] * 3


SIZES = ((160, 90), (120, 160), (70, 70))


def _kept(bucket: list[int], size: tuple[int, int]) -> float:
    """Returns the share of a picture that its bucket shows."""
    one, other = bucket[0] / bucket[1], size[0] / size[1]
    return min(one, other) / max(one, other)
