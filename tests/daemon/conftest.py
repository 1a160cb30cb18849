# SPDX-License-Identifier: Apache-2.0
"""The tiny model and its pictures, built once per test run by the real programs."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.protocol.messages import State
from tests.daemon.running import RunningDaemon, context, make_model, tensors
from tests.gpus.nvml import build


@pytest.fixture(scope="session")
def model() -> Iterator[Path]:
    """A folder with the tiny model, and 8 pictures in `pictures/`. Every user of the machine can read it."""
    folder = Path(tempfile.mkdtemp(prefix="fg-model-", dir="/var/tmp"))  # a booted machine has its own /tmp
    folder.chmod(0o755)
    make_model(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def daemon(folder: Path) -> Iterator[RunningDaemon]:
    """A daemon that runs its jobs as processes."""
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as running:
        yield running


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fake NVML that reports the GPUs that a test defines."""
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def undisturbed(model: Path) -> dict[str, bytes]:
    """The LoRA of an uninterrupted run, as its tensors by name."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
        daemon.submit(context("undisturbed", model))
        daemon.wait("undisturbed", State.COMPLETED)
        result = tensors(daemon.folder("undisturbed") / "undisturbed.safetensors")
    shutil.rmtree(folder)
    return result
