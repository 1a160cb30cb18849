# SPDX-License-Identifier: Apache-2.0
"""A short training, and what it gives when nothing happens to it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.messages import State
from tests.crash.material import short
from tests.daemon.conftest import folder, model
from tests.daemon.running import RunningDaemon, tensors

__all__ = ["folder", "model", "undisturbed"]


@pytest.fixture(scope="session")
def undisturbed(model: Path) -> Iterator[dict[str, bytes]]:
    """The LoRA of a run that nothing happened to."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
        daemon.submit(short("undisturbed", model))
        daemon.wait("undisturbed", State.COMPLETED)
        yield tensors(daemon.folder("undisturbed") / "undisturbed.safetensors")
    shutil.rmtree(folder)
