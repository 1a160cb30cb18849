# SPDX-License-Identifier: Apache-2.0
"""A daemon with a web server in front of it, for one test or for all tests of a file."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.running import RunningDaemon
from tests.web.serving import RunningWeb


@pytest.fixture
def daemon(folder: Path) -> Iterator[RunningDaemon]:
    """A daemon that runs its jobs as processes."""
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as running:
        yield running


@pytest.fixture
def web(folder: Path, daemon: RunningDaemon) -> Iterator[RunningWeb]:
    """A web server for one test, which may stop and start it."""
    with RunningWeb(folder, daemon.socket) as running:
        yield running


@pytest.fixture(scope="module")
def shared_web() -> Iterator[RunningWeb]:
    """A web server that no test changes, in front of a daemon without jobs."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    with (
        RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon,
        RunningWeb(folder, daemon.socket) as running,
    ):
        yield running
    shutil.rmtree(folder)
