# SPDX-License-Identifier: Apache-2.0
"""The daemon and the material for the tests of the verbs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fluxgymctl.daemon import Daemon, make_material
from tests.fluxgymctl.program import ctl


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spec file of a training that takes seconds."""
    return make_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="session")
def shared_daemon() -> Iterator[Daemon]:
    """One for all tests that leave it as it was."""
    daemon = Daemon()
    yield daemon
    daemon.close()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """One for this test."""
    daemon = Daemon()
    yield daemon
    daemon.close()


@pytest.fixture(scope="session")
def trained(shared_daemon: Daemon, spec: Path) -> Daemon:
    """The shared daemon, with a completed job `trained`."""
    submitted = ctl("submit", "trained", "--file", str(spec), socket=shared_daemon.socket)
    assert (submitted.returncode, submitted.stdout) == (0, "trained\n"), submitted.stderr
    waited = ctl("wait", "trained", socket=shared_daemon.socket)
    assert (waited.returncode, waited.stdout, waited.stderr) == (0, "", "")
    return shared_daemon
