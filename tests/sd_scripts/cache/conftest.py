# SPDX-License-Identifier: Apache-2.0
"""Fixtures for the tests of caches."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sd_scripts.cache import material
from tests.sd_scripts.running import Models, make_pictures


@pytest.fixture
def cached(models: Models, tmp_path: Path) -> Path:
    """A folder of two pictures with all caches."""
    folder = make_pictures(tmp_path / "pictures", 2)
    material.fill(folder, models)
    return folder
