# SPDX-License-Identifier: Apache-2.0
"""Tests of caches by sd-scripts and by our trainer: the classes of both read the same numbers from them (issue 5)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.daemon.running import ROOT, TRAINER_PYTHON
from tests.harness.waiting import BUILD_SECONDS
from tests.interop.training import Training, Upstream

SIDE, TOKENS = 64, 64
"""Pixels of a picture's side, and tokens, as in tests.interop.training.Training."""


@pytest.mark.parametrize("by", ["ours", "theirs"])
def test_both_trainers_read_the_same_from_a_cache(
    by: str, upstream: Upstream, model: Path, request: pytest.FixtureRequest
) -> None:
    trained: Training = request.getfixturevalue(by)
    asker = Path(__file__).with_name("ask_caches.py")
    told = []
    for python, modules in ((upstream.python, upstream.path), (TRAINER_PYTHON, ROOT / "sd-scripts")):
        numbers = (str(SIDE), str(SIDE), str(TOKENS))
        command: list[str | Path] = [python, asker, modules, model, trained.folder / "dataset.toml", *numbers]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
        assert ended.returncode == 0, ended.stderr[-3000:]
        told.append(json.loads(ended.stdout.splitlines()[-1]))
    assert told[0] == told[1]
    assert set(told[0]) == {"pooled", "hidden", "mask", "latents"}
