# SPDX-License-Identifier: Apache-2.0
"""The trainer in a Python with torch, transformers and accelerate, but without any package that it can do without.

The GPU bench's machine is like that (issue 5, item 6). The packages are really missing: the program sees a folder of
links to all other packages of this Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.harness.waiting import DEADLINE_SECONDS
from tests.sd_scripts.running import PROGRAM, Settings, train

ABSENT = (
    *("diffusers", "peft", "bitsandbytes", "prodigyopt", "schedulefree", "lion_pytorch"),
    *("dadaptation", "tensorboard", "tensorboardx", "sentencepiece", "einops", "torchvision", "cv2", "xformers"),
)
CACHED = "--network_train_unet_only --cache_latents_to_disk --cache_text_encoder_outputs_to_disk"


class BarePython:
    """Starts this Python with all of its packages except `ABSENT`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._packages = folder
        for site in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for entry in Path(site).iterdir():
                if entry.name.partition("-")[0].partition(".")[0].lower() not in ABSENT:
                    (folder / entry.name).symlink_to(entry)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHONPATH": str(self._packages)}
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environ,
            timeout=DEADLINE_SECONDS,
        )


@pytest.fixture
def bare(tmp_path: Path) -> BarePython:
    return BarePython(tmp_path / "packages")


def model_hash(settings: Settings) -> str:
    with safe_open(settings.output_dir / "lora.safetensors", framework="pt") as file:
        found: str = file.metadata()["sshs_model_hash"]
    return found


def test_every_module_can_be_imported(bare: BarePython) -> None:
    folder = PROGRAM.parent
    names = sorted(
        ".".join(path.relative_to(folder).with_suffix("").parts)
        for path in folder.rglob("*.py")
        if path.name != "__init__.py"
    )
    assert "library.train.training" in names
    done = bare.run(
        "-c",
        "import importlib, importlib.util, sys\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
        f"print([name for name in {ABSENT!r} if importlib.util.find_spec(name)])\n"
        f"for name in {names!r}: importlib.import_module(name)\n",
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_training_with_warm_caches_is_the_same_and_continues_without_samples(
    bare: BarePython, settings: Settings
) -> None:
    settings = settings.plus(CACHED).with_samples()
    train(settings)
    without = settings.plus("", output="bare")
    done = bare.run(PROGRAM, *without.arguments())
    assert done.returncode == 0, done.stderr
    assert model_hash(without) == model_hash(settings)
    assert "no samples are made: " in done.stdout
    assert "has no module diffusers; the training continues" in done.stdout
    assert "Traceback" not in done.stderr


def test_pictures_that_have_no_cache_need_diffusers(bare: BarePython, settings: Settings) -> None:
    done = bare.run(PROGRAM, *settings.plus(CACHED).arguments())
    assert done.returncode == 1
    assert done.stderr.endswith("has no module diffusers; use the Python of the trainer's environment\n")
    assert list(settings.output_dir.iterdir()) == []
