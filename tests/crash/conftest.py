# SPDX-License-Identifier: Apache-2.0
"""The result of a short training that nothing disturbs."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxgym.protocol.messages import State
from tests.crash.material import short
from tests.daemon.conftest import model
from tests.daemon.running import RunningDaemon, tensors

__all__ = ["model", "undisturbed"]


@pytest.fixture(scope="session")
def undisturbed(model: Path) -> Iterator[dict[str, bytes]]:
    """The tensors of an uninterrupted run's LoRA."""
    folder = Path(tempfile.mkdtemp(prefix="fg-"))
    with RunningDaemon(folder, arguments=("--supervisor", "process")) as daemon:
        daemon.submit(short("undisturbed", model))
        daemon.wait("undisturbed", State.COMPLETED)
        yield tensors(daemon.folder("undisturbed") / "undisturbed.safetensors")
    shutil.rmtree(folder)
