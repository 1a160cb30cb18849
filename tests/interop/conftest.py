# SPDX-License-Identifier: Apache-2.0
"""The checkout of sd-scripts on this machine, and a model that it can load. Without a checkout these tests fail; none
is skipped."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.running import RunningDaemon, make_model
from tests.harness.waiting import BUILD_SECONDS
from tests.interop.training import OUR_COMMAND, Training, Upstream

PICTURES = ("disc-1", "cross-1")
NEEDED = (
    "SD_SCRIPTS must name a checkout of kohya-ss/sd-scripts, and SD_SCRIPTS_PYTHON its Python; ./dev interop does"
)


@pytest.fixture(scope="session")
def upstream() -> Upstream:
    """The checkout and Python that the two variables in CONTRIBUTING.md name."""
    path, python = os.environ.get("SD_SCRIPTS"), os.environ.get("SD_SCRIPTS_PYTHON")
    if not path or not python:
        pytest.fail(NEEDED)
    return Upstream(Path(path).absolute(), Path(python).absolute())


@pytest.fixture(scope="session")
def model(upstream: Upstream) -> Iterator[Path]:
    """A folder with a Flux of sd-scripts' widths, tokenizers, and two pictures in `pictures/`."""
    with tempfile.TemporaryDirectory(prefix="fg-interop-", dir="/var/tmp") as place:
        folder = Path(place)
        make_model(folder)
        maker = Path(__file__).with_name("make_model.py")
        made = subprocess.run(
            [upstream.python, maker, upstream.path, folder], capture_output=True, text=True, timeout=BUILD_SECONDS
        )
        assert made.returncode == 0, made.stderr[-3000:]
        for file in (folder / "pictures").iterdir():
            if file.stem not in PICTURES:
                file.unlink()
        yield folder


@pytest.fixture(scope="session")
def theirs(upstream: Upstream, model: Path) -> Training:
    """A training by sd-scripts: two epochs of two steps, CLIP-L trained too, its caches beside its pictures."""
    training = Training(folder=model / "theirs", model=model, pictures=model / "pictures")
    training.run(upstream.command)
    return training


@pytest.fixture(scope="session")
def ours(model: Path) -> Training:
    """The same training by our trainer."""
    training = Training(folder=model / "ours", model=model, pictures=model / "pictures")
    training.run(OUR_COMMAND)
    return training


@pytest.fixture
def daemon(upstream: Upstream) -> Iterator[RunningDaemon]:
    """A daemon whose trainer is sd-scripts."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    trainer = {"FLUXGYM_TRAINER_PATH": str(upstream.path), "FLUXGYM_TRAINER_PYTHON": str(upstream.python)}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=trainer) as running:
        yield running
    shutil.rmtree(folder)
