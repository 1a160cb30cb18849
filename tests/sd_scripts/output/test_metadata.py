# SPDX-License-Identifier: Apache-2.0
"""A LoRA's metadata equal those of sd-scripts, recorded after one step on the same pictures with the same flags.

The records cover buckets, several datasets, too few and too many regularisation pictures, validation pictures, and a
folder that two datasets share.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors import safe_open

from tests.sd_scripts.in_process import run
from tests.sd_scripts.recorded import recorded
from tests.sd_scripts.running import Models, Settings

RECORDED = recorded("metadata")
# Values that depend on the run, the weights or the program.
OWN = {
    *("modelspec.date", "modelspec.implementation_version", "ss_sd_scripts_commit_hash", "ss_session_id"),
    *("ss_training_started_at", "ss_training_finished_at", "ss_sd_model_hash", "ss_new_sd_model_hash"),
    *("sshs_legacy_hash", "sshs_model_hash"),
}


class Recorded(Settings):
    """The models, and only the recorded flags."""

    def arguments(self) -> list[str]:
        return [*self.models.arguments(), "--output_dir", str(self.output_dir), *self.extra]


def lay_out(case: dict[str, Any]) -> None:
    """Makes a record's pictures and dataset.toml in the working directory."""
    for folder, pictures in case["folders"].items():
        Path(folder).mkdir(parents=True)
        for name, (width, height, caption) in pictures.items():
            Image.new("RGB", (width, height)).save(f"{folder}/{name}.png")
            if caption is not None:
                Path(f"{folder}/{name}.txt").write_text(caption)
    if case["dataset"]:
        Path("dataset.toml").write_text(case["dataset"])


def read(value: str) -> Any:
    """Parses JSON, in which the order of folders is the disk's; any other value is returned as it is."""
    try:
        return json.loads(value)
    except ValueError:
        return value


@pytest.mark.parametrize("name", RECORDED)
def test_each_key_has_the_value_that_sd_scripts_would_write(
    name: str, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    case = RECORDED[name]
    lay_out(case)
    settings = Recorded(models=models, folder=tmp_path, pictures=tmp_path, extra=tuple(case["flags"]))
    assert run(settings).error is None
    with safe_open(settings.output_dir / "n.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == case["metadata"].keys()
    for key in metadata.keys() - OWN:
        assert read(metadata[key]) == read(case["metadata"][key]), key
