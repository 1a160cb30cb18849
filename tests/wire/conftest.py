# SPDX-License-Identifier: Apache-2.0
"""A daemon to attack, with a queued job that has a long log."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.running import RunningDaemon
from tests.wire.observing import program

WAITING = "waiting"
LINE = b"steps:  42%|####2     | 1075/2560 [12:31<17:18,  1.43it/s, avr_loss=0.0931]\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder with a short path, since the length of a socket's path is limited."""
    path = Path(tempfile.mkdtemp(prefix="fg-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def daemon(folder: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as running:
        running.submit(program(WAITING, held=True))
        (running.folder(WAITING) / "training.log").write_bytes(LINE * 250_000)
        yield running
