# SPDX-License-Identifier: Apache-2.0
"""Adapters of trainers for tests, with any folder as the trainer's."""

from pathlib import Path

from fluxgym import config
from fluxgym.config import Config
from fluxgymd.trainers.choice import Trainers

NOWHERE = Path("/nowhere")


def configured(*, path: Path = NOWHERE, python: Path = NOWHERE, home: Path = NOWHERE) -> Config:
    """Returns a configuration with the trainer at `path`. By default there is none, so nothing answers questions."""
    environ = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    return config.load(environ, {"home": str(home), "trainer.path": str(path), "trainer.python": str(python)})


def trainers(path: Path = NOWHERE, *, python: Path = NOWHERE) -> Trainers:
    """Returns a daemon's trainers after its first look at them."""
    found = Trainers(configured(path=path, python=python))
    found.look_now()
    return found
