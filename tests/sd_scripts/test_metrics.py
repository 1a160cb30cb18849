# SPDX-License-Identifier: Apache-2.0
"""Progress on a disk that fills up and has room again later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from library.metrics import Metrics
from tests.store.small_disk import PAGE, fill, small_disk


def test_promise_7_progress_is_told_again_once_a_full_disk_has_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the daemon's watchdog would take the silence for a hang."""
    with small_disk(tmp_path, pages=8) as disk:
        path = disk / "metrics.jsonl"
        metrics = Metrics(str(path))
        metrics.report("starting")
        hog = fill(disk)
        for step in range(PAGE // 50):  # the file's last page gets full, and one line is torn
            metrics.report("training", step=step)
            metrics.report("saving", step=step)
        assert not path.read_text().endswith("\n")
        hog.unlink()
        metrics.report("training", step=2000)
        metrics.report("finishing", step=2001)
        lines = path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines[-2:]] == [2000, 2001]
    assert capsys.readouterr().err.count("cannot write progress to FLUXGYM_METRICS") == 1
