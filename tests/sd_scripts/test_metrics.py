# SPDX-License-Identifier: Apache-2.0
"""The progress lines: how they are thinned out, and a file that cannot be written, or not until later."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from library.metrics import Metrics
from tests.store.small_disk import PAGE, fill, small_disk


def test_promise_7_progress_is_reported_again_once_a_full_disk_has_room(
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


def test_metrics_are_thinned_out_but_keep_the_last_line_of_a_phase(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"from": "before"}\n')
    metrics = Metrics(str(path))
    for step in range(1000):
        metrics.report("training", step=step, loss=math.nan)
    metrics.report("saving")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"from": "before"}
    assert (lines[1]["step"], lines[1]["loss"]) == (0, None)
    assert (lines[-2]["step"], lines[-1]["phase"]) == (999, "saving")
    assert len(lines) < 100


def test_part_of_an_item_is_reported_after_a_silence_and_never_instead_of_an_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(str(path))
    now = [100.0]
    monkeypatch.setattr("library.metrics.time.monotonic", lambda: now[0])

    def after(seconds: float, tell: Callable[..., None], **values: float) -> list[tuple[object, object]]:
        now[0] += seconds
        tell("training", **values)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [(line.get("step"), line.get("work")) for line in lines]

    told = after(0, metrics.report_piece, work=1)
    assert told == [(None, 1)], "a phase's first line"
    assert after(0.9, metrics.report_piece, work=2) == told
    told = after(0.2, metrics.report_piece, work=3)
    assert told == [(None, 1), (None, 3)]
    assert after(0.05, metrics.report, step=1) == told, "it is held back"
    assert after(5, metrics.report_piece, work=4) == told, "and a piece does not take its place"
    assert after(0.1, metrics.report, step=2) == [*told, (2, None)]


def test_a_metrics_file_that_cannot_be_written_is_reported_and_tolerated(capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("/nowhere/metrics.jsonl", "/dev/full"):
        metrics = Metrics(path)
        metrics.report("training", step=1)
        metrics.report("saving")
        assert "cannot write progress to FLUXGYM_METRICS" in capsys.readouterr().err
