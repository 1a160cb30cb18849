# SPDX-License-Identifier: Apache-2.0
"""The header of each model file is read once, by --check_job as well as by a complete training."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest

from library.files import safetensors_header
from library.files.safetensors_header import Tensor
from tests.sd_scripts.check.asking import ask
from tests.sd_scripts.in_process import run
from tests.sd_scripts.running import Models, Settings

Reads = collections.Counter[str]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """How many times each file's header has been read, by the file's name."""
    counted: Reads = collections.Counter()
    read = safetensors_header.read

    def counting(path: Path, flag: str) -> dict[str, Tensor]:
        counted[path.name] += 1
        return read(path, flag)

    monkeypatch.setattr(safetensors_header, "read", counting)
    return counted


@pytest.fixture
def begun(settings: Settings, tmp_path: Path) -> Settings:
    """A training that uses each file in every way: it trains CLIP-L, makes samples, and begins with the weights of a
    LoRA, which also decide its ranks."""
    assert run(settings.plus("--max_train_epochs 1", output="first")).error is None
    weights = tmp_path / "first" / "lora.safetensors"
    return settings.with_samples().plus(
        f"--max_train_epochs 1 --network_weights {weights} --dim_from_weights --mixed_precision bf16"
    )


def once_each(models: Models) -> Reads:
    files = [*models.folder.glob("*.safetensors")]
    assert len(files) == 4
    return collections.Counter([*(file.name for file in files), "lora.safetensors"])


def test_a_check_reads_each_header_once(begun: Settings, models: Models, reads: Reads) -> None:
    reads.clear()
    assert ask(begun)["problems"] == []
    assert reads == once_each(models)


def test_a_training_reads_each_header_once(begun: Settings, models: Models, reads: Reads) -> None:
    reads.clear()
    assert run(begun).error is None
    assert list((begun.output_dir / "sample").glob("*.png"))
    assert reads == once_each(models)
