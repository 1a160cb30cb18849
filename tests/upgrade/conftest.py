# SPDX-License-Identifier: Apache-2.0
"""The frozen versions, and today's daemon on a copy of the homes of one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.running import RunningDaemon
from tests.data.frozen import record

VERSIONS = sorted(path for path in record.HERE.glob("v*") if path.is_dir())


@pytest.fixture(params=VERSIONS, ids=[path.name for path in VERSIONS])
def version(request: pytest.FixtureRequest) -> Path:
    """The folder of a frozen version."""
    path = request.param
    assert isinstance(path, Path)
    return path


@pytest.fixture
def daemon(version: Path) -> Iterator[RunningDaemon]:
    """Today's daemon on a copy of a version's homes. Its queue is paused, so it starts nothing."""
    with record.on_a_copy(version) as running:
        yield running
