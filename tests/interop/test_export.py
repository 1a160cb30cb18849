# SPDX-License-Identifier: Apache-2.0
"""Tests that an exported folder is trained by sd-scripts itself, without FluxGym (issue 14)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec

from fluxgym.protocol.methods import EXPORT, ExportParameters
from tests.daemon.running import RunningDaemon, context, tensors
from tests.interop.training import DEADLINE_SECONDS, Upstream


def test_sd_scripts_trains_an_exported_folder(
    daemon: RunningDaemon, upstream: Upstream, model: Path, tmp_path: Path
) -> None:
    job = context("exported", model)
    short = {"held": True, "epochs": 1, "repeats": 1, "enable_bucket": False, "trigger_word": "O'Keeffe"}
    daemon.submit(msgspec.structs.replace(job, **short))
    folder = tmp_path / "it's exported"
    daemon.call(EXPORT, ExportParameters(name="exported", folder=str(folder)))
    environ = {key: value for key, value in os.environ.items() if not key.startswith("FLUXGYM_")}
    ended = subprocess.run(
        ["sh", folder / "train.sh", "--t5xxl_max_token_length", "64", "--max_data_loader_n_workers", "1"],
        env=environ | {"SD_SCRIPTS": str(upstream.path), "PYTHON": str(upstream.python), "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr[-5000:]
    assert tensors(folder / "output" / "exported.safetensors")
