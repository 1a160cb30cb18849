# SPDX-License-Identifier: Apache-2.0
"""The trainer's modules are put on the path, as its program does it; models and pictures are made once a session."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "sd-scripts"))

# Before anything imports torch or transformers: the same as the program, and one thread for tiny models.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

from tests.trainer.running import Models, Outcome, Settings, make_models, make_pictures, train  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of libraries that we do not own must not fail a test; ours still do."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("default::DeprecationWarning"))
        item.add_marker(pytest.mark.filterwarnings("default::FutureWarning"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The smallest Flux that has every kind of block."""
    return make_models(
        tmp_path_factory.mktemp("models"),
        *("--hidden", "64", "--heads", "2", "--double-blocks", "1", "--single-blocks", "1"),
    )


@pytest.fixture
def settings(models: Models, tmp_path: Path) -> Settings:
    """A training of 3 epochs of 6 steps on 3 fresh pictures, CLIP-L included."""
    return Settings(models=models, folder=tmp_path, pictures=make_pictures(tmp_path / "pictures", 3))


@pytest.fixture
def long_settings(settings: Settings) -> Settings:
    """The same with 60 steps an epoch, so that a signal from outside meets it on the way."""
    return dataclasses.replace(settings, repeats=20)


@pytest.fixture(scope="session")
def undisturbed(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The long training, run once without interruption, with caches in memory, states and samples."""
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = Settings(models=models, folder=folder, pictures=make_pictures(folder / "pictures", 3), repeats=20)
    return train(settings.with_samples())
