# SPDX-License-Identifier: Apache-2.0
"""Plays drawn jobs, and compares each training with its plan (`./dev soak plans`)."""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path

from tests.daemon.plans.draw import Draw, draw
from tests.daemon.plans.playing import names, play
from tests.daemon.running import RunningDaemon, make_model


def soak(seed: int, numbers: Iterable[int]) -> list[int]:
    """Plays these draws, each with a daemon of its own: no draw finds the caches of another. Returns the numbers of
    those that failed."""
    failed = []
    with tempfile.TemporaryDirectory(prefix="fg-model-") as model:
        make_model(Path(model))
        for number in numbers:
            drawn = draw(seed=seed, number=number)
            try:
                _play(Path(model), drawn)
                print(f"{number}: {drawn}", flush=True)
            except Exception:  # noqa: BLE001 - the soak looks for any failure
                failed.append(number)
                print(f"{number} FAILED: {drawn}\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    return failed


def _play(model: Path, drawn: Draw) -> None:
    with tempfile.TemporaryDirectory(prefix="fg-") as place:
        pictures = Path(place, "pictures")
        pictures.mkdir()
        with RunningDaemon(Path(place), arguments=("--supervisor", "process")) as daemon:
            try:
                play(daemon, model, drawn, pictures)
            except Exception as error:
                error.add_note(daemon.evidence(*names(drawn)))
                raise
