# SPDX-License-Identifier: Apache-2.0
"""Trains random settings and compares each training with its plan (`./dev soak plans`), in the trainer's Python."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv-trainer" / "bin" / "python"
AT_A_TIME = 10
"""Draws for one process."""
SECONDS = 300.0
"""For one draw, at most."""


def soak(seed: int, numbers: Iterable[int]) -> list[int]:
    """Plays these draws. Returns the numbers of those that failed."""
    wanted = sorted(numbers)
    failed: list[int] = []
    for begin in range(0, len(wanted), AT_A_TIME):
        some = wanted[begin : begin + AT_A_TIME]
        failed += _play(seed, some[0], some[-1])
    return failed


def _play(seed: int, first: int, last: int) -> list[int]:
    words = [str(PYTHON), "-m", "tests.sd_scripts.plans.playing", *map(str, (seed, first, last))]
    timeout = SECONDS * (last - first + 1)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    print(done.stdout + done.stderr, end="", flush=True)
    passed = {int(line.split()[0]) for line in done.stdout.splitlines() if " passed: " in line}
    return sorted({*range(first, last + 1)} - passed)
