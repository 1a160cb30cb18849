# SPDX-License-Identifier: Apache-2.0
"""The small NVML as a fixture. Programs that a test starts find it too."""

from pathlib import Path

import pytest

from tests.gpus.nvml import Nvml, build


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """An NVML without GPUs, until the test adds some."""
    nvml = Nvml(nvml_library, tmp_path / "nvml.txt")
    for name, value in nvml.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(checkout)
    return nvml
