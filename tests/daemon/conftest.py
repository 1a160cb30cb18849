# SPDX-License-Identifier: Apache-2.0
"""The tiny model and its pictures, built once by the real programs."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.messages import State
from tests.daemon.alice import copy_sources
from tests.daemon.running import RunningDaemon, context, make_model, tensors


@pytest.fixture(scope="session")
def model() -> Iterator[Path]:
    """A folder with the tiny model, and 8 pictures in `pictures/`; readable by every user of the machine."""
    folder = Path(tempfile.mkdtemp(prefix="fg-model-", dir="/var/tmp"))  # /tmp is another one on a booted machine
    folder.chmod(0o755)
    make_model(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def wheels() -> Iterator[Path]:
    """What `./dev install` installs, as wheels: the machine has no network."""
    folder = Path(tempfile.mkdtemp(prefix="fg-wheels-", dir="/var/tmp"))
    folder.chmod(0o755)
    source = folder / "source"
    copy_sources(source)  # a build writes into its source
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([*pip, f"{source}[systemd]", "setuptools"], check=True)
    shutil.rmtree(source)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short temporary folder: the path of a socket has a limit."""
    path = Path(tempfile.mkdtemp(prefix="fg-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def daemon(folder: Path) -> Iterator[RunningDaemon]:
    """A daemon that runs its jobs as processes."""
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as running:
        yield running


@pytest.fixture(scope="session")
def undisturbed(model: Path) -> dict[str, bytes]:
    """The result of a run that nothing happened to."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
        daemon.submit(context("undisturbed", model))
        daemon.wait("undisturbed", State.COMPLETED)
        result = tensors(daemon.folder("undisturbed") / "undisturbed.safetensors")
    shutil.rmtree(folder)
    return result
