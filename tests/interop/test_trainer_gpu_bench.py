# SPDX-License-Identifier: Apache-2.0
"""A test of bench/trainer_gpu.py, which compares sd-scripts' training with ours on the same weights; here on the CPU,
and small."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.interop.training import Upstream

ROOT = Path(__file__).resolve().parent.parent.parent
TRAINER_PYTHON = ROOT / ".venv-trainer" / "bin" / "python"


def test_both_trainers_are_measured_on_the_same_weights(upstream: Upstream, tmp_path: Path) -> None:
    environ = os.environ | {
        "SD_SCRIPTS": str(upstream.path),
        "SD_SCRIPTS_PYTHON": str(upstream.python),
        "OMP_NUM_THREADS": "1",
    }
    program: list[str | Path] = [TRAINER_PYTHON, ROOT / "bench" / "trainer_gpu.py", "--size", "tiny", "--steps", "2"]
    options: list[str | Path] = ["--seconds", "3000", "--limit", "3000", "--out", tmp_path]
    chosen = ["--only", "FluxGym's|eager, all"]
    ran = subprocess.run([*program, *options, *chosen], env=environ, capture_output=True, text=True, timeout=3600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report: dict[str, Any] = json.loads(next(tmp_path.glob("*.json")).read_text())
    measured = {(row["row"]["whose"], row["row"]["name"], row["side"]): row["found"] for row in report["rows"]}
    assert len(measured) == 8
    assert None not in measured.values(), ran.stdout
    assert len({found["checksum"] for found in measured.values()}) == 1
    assert not report["left_out"]
