# SPDX-License-Identifier: Apache-2.0
"""Older checkpoints are deleted on request, but never the one that a job will resume from."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fluxgym.errors import InvalidSetting, WrongState
from fluxgymd.core.journal import events as e
from fluxgymd.jobs.registry import Registry
from fluxgymd.requests.prune import Pruner
from tests.core import histories as h
from tests.jobs.journals import encoded, load, put
from tests.store.files import BLOCKS, CLIP, lora, our_state
from tests.trainers.adapters import trainers

WEIGHTS = lora(BLOCKS | CLIP, rank=4, alpha=1.0)


class Resting:
    """A runner without any running jobs, except for those in `starting`."""

    def __init__(self) -> None:
        self.starting: set[str] = set()

    def busy(self, name: str) -> bool:
        return name in self.starting

    async def settled(self, _: str) -> None:
        pass


def job(home: Path, way: str) -> tuple[Registry, Path]:
    """A job in this state with complete checkpoints after epochs 1 to 4, and a broken one after epoch 5."""
    history: list[e.AnyEvent] = h.WAYS[way]
    folder = put(home, "my-lora", encoded("my-lora", history)).parent
    for epoch in range(1, 6):
        our_state(folder / f"my-lora-{epoch:06d}-state", epoch=epoch, step=10 * epoch, weights=WEIGHTS)
    (folder / "my-lora-000005-state" / "optimizer.bin").unlink()
    (folder / "my-lora-000004.safetensors").touch()
    return load(home), folder


def prune(registry: Registry, keep: int, runner: Resting | None = None) -> tuple[list[str], int]:
    resting: Any = runner or Resting()
    pruner = Pruner(registry, resting, trainers())
    try:
        return asyncio.run(pruner.prune("my-lora", keep))
    finally:
        registry.writer.close()


def left(folder: Path) -> list[str]:
    return sorted(path.name.removeprefix("my-lora-") for path in folder.glob("my-lora-*"))


ALL = ["000001-state", "000002-state", "000003-state", "000004-state", "000004.safetensors", "000005-state"]


@pytest.mark.parametrize("way", ["completed", "failed", "stopped", "queued", "interrupted", "held"])
def test_the_newest_complete_checkpoints_stay(tmp_path: Path, way: str) -> None:
    registry, folder = job(tmp_path, way)
    removed, freed = prune(registry, 2)
    assert removed == ["my-lora-000001-state", "my-lora-000002-state"]
    assert freed >= 2 * len(WEIGHTS)
    assert left(folder) == ALL[2:]
    assert "000001-state, my-lora-000002-state" in (folder / "monitor.log").read_text()
    assert prune(registry, 2) == ([], 0)


@pytest.mark.parametrize("way", ["completed", "failed", "stopped"])
def test_an_ended_job_needs_no_checkpoint(tmp_path: Path, way: str) -> None:
    registry, folder = job(tmp_path, way)
    prune(registry, 0)
    assert left(folder) == ALL[4:]


@pytest.mark.parametrize("way", ["queued", "interrupted", "held", "interrupted and held"])
def test_a_job_that_waits_keeps_what_it_resumes_from(tmp_path: Path, way: str) -> None:
    registry, folder = job(tmp_path, way)
    with pytest.raises(WrongState, match="it will resume from its newest checkpoint; keep at least 1, or stop it"):
        prune(registry, 0)
    assert left(folder) == ALL
    prune(registry, 1)
    assert left(folder) == ALL[3:]


@pytest.mark.parametrize("way", ["starting", "running", "stopping", "lost"])
def test_nothing_is_deleted_from_a_job_that_runs(tmp_path: Path, way: str) -> None:
    registry, folder = job(tmp_path, way)
    with pytest.raises(WrongState, match="can't be deleted while it runs; stop it first"):
        prune(registry, 1)
    assert left(folder) == ALL


def test_a_job_that_is_about_to_start_counts_as_running(tmp_path: Path) -> None:
    registry, folder = job(tmp_path, "queued")
    runner = Resting()
    runner.starting.add("my-lora")
    with pytest.raises(WrongState):
        prune(registry, 1, runner)
    assert left(folder) == ALL


def test_keep_is_a_number_of_checkpoints(tmp_path: Path) -> None:
    registry, _ = job(tmp_path, "completed")
    with pytest.raises(InvalidSetting, match="keep is -1, but must be at least 0"):
        prune(registry, -1)
