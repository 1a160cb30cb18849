# SPDX-License-Identifier: Apache-2.0
"""A home of the older program and of its fork, and the check that taking it over loses nothing of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from fluxgymd.requests.takeover import KEPT
from tests.data.older import make
from tests.store.files import BLOCKS, CLIP, model

Tree = dict[str, tuple[int, bytes]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The homes of the older program and of its fork in one, with models and pictures, at another path than
    before."""
    home = tmp_path / "home"
    shutil.copytree(make.HERE / "fork", home)
    shutil.copytree(make.HERE / "original", home, dirs_exist_ok=True)
    for file, modules in {"unet/flux1-dev.sft": BLOCKS, "clip/clip_l.safetensors": CLIP}.items():
        (home / "models" / file).parent.mkdir(parents=True, exist_ok=True)
        (home / "models" / file).write_bytes(model(modules))
    for file in ("clip/t5xxl_fp16.safetensors", "vae/ae.sft"):
        (home / "models" / file).parent.mkdir(parents=True, exist_ok=True)
        (home / "models" / file).write_bytes(model(CLIP))
    for name in ("stopped", "torn", "with-states", "failed", "finished"):
        pictures(home / "datasets" / name)
    return home


def pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("p3rs0n")
    (folder / "0_0512x0512_flux.npz").write_bytes(b"stale")


@pytest.fixture
def sd_scripts(tmp_path: Path) -> Path:
    """A folder that looks like kohya-ss/sd-scripts and not like our trainer."""
    (tmp_path / "sd-scripts").mkdir()
    (tmp_path / "sd-scripts" / "train_network.py").touch()
    return tmp_path / "sd-scripts"


def tree(folder: Path) -> Tree:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def nothing_is_lost(before: Tree, folder: Path) -> None:
    """Asserts that every old file is where it was, or in the folder KEPT, with its content and its time."""
    after = tree(folder)
    for name, file in before.items():
        assert file in (after.get(name), after.get(f"{KEPT}/{name}")), name
