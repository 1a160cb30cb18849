# SPDX-License-Identifier: Apache-2.0
"""The daemon and the training material for the tests of the verbs."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon.running import RunningDaemon
from tests.fluxgymctl.material import make_material
from tests.fluxgymctl.program import ctl


@contextmanager
def running(**settings: str) -> Iterator[RunningDaemon]:
    """A daemon with these variables in its environment."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))  # short, since the length of a socket's path is limited
    with RunningDaemon(folder, arguments=("--supervisor", "process"), env=settings) as daemon:
        yield daemon
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spec file of a training that takes a few seconds."""
    return make_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="session")
def shared_daemon() -> Iterator[RunningDaemon]:
    """One daemon for all tests that leave it as it was."""
    with running() as daemon:
        yield daemon


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    """A daemon for this test alone."""
    with running() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def trained(shared_daemon: RunningDaemon, spec: Path) -> RunningDaemon:
    """The shared daemon, with a completed job `trained`."""
    submitted = ctl("submit", "trained", "--file", str(spec), socket=shared_daemon.socket)
    assert (submitted.returncode, submitted.stdout) == (0, "trained\n"), submitted.stderr
    waited = ctl("wait", "trained", socket=shared_daemon.socket)
    assert (waited.returncode, waited.stdout, waited.stderr) == (0, "", "")
    return shared_daemon
