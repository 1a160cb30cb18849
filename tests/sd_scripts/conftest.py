# SPDX-License-Identifier: Apache-2.0
"""Puts the trainer's modules on the path, as its program does, and makes models and pictures once a session."""

from __future__ import annotations

import atexit
import dataclasses
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sd_scripts.compiler import Compiler

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "sd-scripts"))

# Before anything imports torch or transformers: the program's settings, and one thread, enough for tiny models.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
# What tests compile in this process is deleted when the process exits.
COMPILED = Path(tempfile.mkdtemp(prefix="fg-inductor-"))
atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
atexit.register(gc.freeze)
COMPILER = Compiler(COMPILED / "compiler")
os.environ.update(TORCHINDUCTOR_CACHE_DIR=str(COMPILED / "cache"), CXX=str(COMPILER.path))

from tests.sd_scripts.running import (  # noqa: E402
    Models,
    Outcome,
    Settings,
    make_models,
    make_pictures,
    temporary_directory,
    train,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deprecation and future warnings come from libraries that we do not own, so they must not fail a test. All other
    warnings do."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("default::DeprecationWarning"))
        item.add_marker(pytest.mark.filterwarnings("default::FutureWarning"))


def pytest_collection_finish() -> None:
    """What the tests' modules have imported stays until the end, so the garbage collector need not search it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    tmp_path_factory.getbasetemp()  # outlives the test
    with temporary_directory():
        yield


@pytest.fixture(scope="session")
def compiler() -> Compiler:
    """The compiler that inductor uses, in this process and in those that it starts."""
    return COMPILER


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The smallest Flux that has every kind of block."""
    return make_models(
        tmp_path_factory.mktemp("models"),
        *("--hidden", "64", "--heads", "2", "--double-blocks", "1", "--single-blocks", "1"),
    )


@pytest.fixture
def settings(models: Models, tmp_path: Path) -> Settings:
    """A training of 3 epochs of 6 steps on 3 new pictures, CLIP-L included."""
    return Settings(models=models, folder=tmp_path, pictures=make_pictures(tmp_path / "pictures", 3))


@pytest.fixture
def long_settings(settings: Settings) -> Settings:
    """The same with 60 steps an epoch, so that a signal from outside arrives before the end."""
    return dataclasses.replace(settings, repeats=20)


@pytest.fixture(scope="session")
def undisturbed(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The long training, run once without interruption, with caches in memory, states and samples."""
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = Settings(models=models, folder=folder, pictures=make_pictures(folder / "pictures", 3), repeats=20)
    return train(settings.with_samples())
