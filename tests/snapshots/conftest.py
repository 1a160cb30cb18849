# SPDX-License-Identifier: Apache-2.0
"""Fixtures for the tests of snapshots."""

from pathlib import Path

import pytest


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the copy of a dataset is to be made."""
    return tmp_path / "dataset"
