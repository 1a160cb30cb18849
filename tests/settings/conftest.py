# SPDX-License-Identifier: Apache-2.0
"""A fixture with a model and pictures on which every setting has an effect."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.conftest import daemon
from tests.settings import material

__all__ = ["daemon", "model"]


@pytest.fixture(scope="session")
def model() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fg-model-"))
    yield material.make(folder)
    shutil.rmtree(folder)
