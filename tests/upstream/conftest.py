# SPDX-License-Identifier: Apache-2.0
"""sd-scripts as it lies on this machine, and a model that it loads. Without it these tests fail; none is skipped."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon.running import RunningDaemon, make_model

PICTURES = ("disc-1", "cross-1")


@dataclass(frozen=True, slots=True)
class Upstream:
    """A checkout, and the Python that has its requirements."""

    path: Path
    python: Path


@pytest.fixture(scope="session")
def upstream() -> Upstream:
    """Of the two variables that CONTRIBUTING.md names."""
    path, python = os.environ.get("FLUXGYM_UPSTREAM"), os.environ.get("FLUXGYM_UPSTREAM_PYTHON")
    if not path or not python:
        pytest.fail("set FLUXGYM_UPSTREAM to a checkout of sd-scripts and FLUXGYM_UPSTREAM_PYTHON to its Python.")
    return Upstream(Path(path).absolute(), Path(python).absolute())


@pytest.fixture(scope="session")
def model(upstream: Upstream) -> Iterator[Path]:
    """A folder with a Flux of sd-scripts' widths, tokenizers, and two pictures in `pictures/`."""
    folder = Path(tempfile.mkdtemp(prefix="fg-upstream-", dir="/var/tmp"))
    make_model(folder)
    maker = Path(__file__).with_name("make_model.py")
    subprocess.run([upstream.python, maker, upstream.path, folder], check=True, stdout=subprocess.DEVNULL)
    for file in (folder / "pictures").iterdir():
        if file.stem not in PICTURES:
            file.unlink()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def daemon(upstream: Upstream) -> Iterator[RunningDaemon]:
    """A daemon whose trainer is sd-scripts."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    trainer = {"FLUXGYM_TRAINER_PATH": str(upstream.path), "FLUXGYM_TRAINER_PYTHON": str(upstream.python)}
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=trainer) as running:
        yield running
    shutil.rmtree(folder)
