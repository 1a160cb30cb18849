# SPDX-License-Identifier: Apache-2.0
"""The trial of the disk distinguishes a disk that answers, even with an error, from one that hangs."""

import math
import os
import time
from concurrent.futures import wait
from functools import partial
from pathlib import Path

import pytest

from fluxgymd.store.disk_trial import NAME, DiskTrial
from tests.harness.hung_volume import HungVolume
from tests.harness.waiting import until


def test_a_disk_that_answers_passes_every_time(tmp_path: Path) -> None:
    trial = DiskTrial(tmp_path)
    assert not trial.passed(began_after=-math.inf), "it has not even begun"
    for _ in range(2):
        now = time.monotonic()
        assert trial._under_way is not None
        wait([trial._under_way])
        assert not trial.passed(began_after=now), "the one that is done began before"
        until(partial(trial.passed, began_after=now), what="the next trial")
    until(lambda: not (tmp_path / NAME).exists(), what="the last one to be tidied")


def test_a_disk_that_refuses_has_answered(tmp_path: Path) -> None:
    trial = DiskTrial(tmp_path / "gone")
    until(lambda: trial.passed(began_after=-math.inf), what="the answer")


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


@pytest.mark.systemd
def test_a_disk_that_hangs_passes_none_and_holds_one_thread(tmp_path: Path) -> None:
    with HungVolume(tmp_path):
        trial = DiskTrial(tmp_path)
        before = threads()
        for _ in range(20):
            assert not trial.passed(began_after=-math.inf)
        assert threads() <= before + 1
    until(lambda: trial.passed(began_after=-math.inf), what="the error of a volume that was given up")
