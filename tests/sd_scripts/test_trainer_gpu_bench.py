# SPDX-License-Identifier: Apache-2.0
"""bench/trainer_gpu.py runs: the same code as on a GPU, but on the CPU and at a reduced size, compiled too.

Nothing here depends on timing. tests/upstream has the bench with sd-scripts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.waiting import DEADLINE_SECONDS, until

ROOT = Path(__file__).resolve().parent.parent.parent
BENCH = ROOT / "bench" / "trainer_gpu.py"
sys.path += [str(ROOT / "bench"), str(ROOT / "bench" / "gpu_rows")]

# Enough time for a bench that has to measure everything it is asked for.
ENOUGH = ("--seconds", "3000", "--limit", "3000")

rows = importlib.import_module("rows")
stand_ins = importlib.import_module("stand_ins")
table = importlib.import_module("table")
trainer_gpu = importlib.import_module("trainer_gpu")
workers = importlib.import_module("workers")


def run_bench(out: Path, *options: str, **environ: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Runs the bench at its smallest size, without sd-scripts. Returns the finished process and the report."""
    command = [sys.executable, BENCH, "--size", "tiny", "--steps", "1", "--out", out, *options]
    own = {name: value for name, value in os.environ.items() if not name.startswith("SD_SCRIPTS")}
    ran = subprocess.run(command, env={**own, **environ}, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    reports = list(out.glob("trainer_gpu-tiny-*.json")) if out.exists() else []
    return ran, json.loads(reports[0].read_text()) if reports else {}


def test_rows_of_our_trainer_are_measured_compiled_on_the_cpu_too(tmp_path: Path) -> None:
    chosen = "compiled, half checkpointed, 64|eager, fp8|FluxGym's usual flags, 64|ceilings"
    ran, report = run_bench(tmp_path, *ENOUGH, "--only", chosen)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    measured = {
        (row["row"]["name"], row["row"]["pixels"]): row["found"]
        for row in report["rows"]
        if row["row"]["whose"] == "ours"
    }
    assert None not in measured.values(), ran.stdout
    half = measured["compiled, half checkpointed", rows.LOW]["choices"]
    assert half["compile"] != "no"
    assert half["checkpointed_blocks"] == rows.SIZES["tiny"].blocks // 2
    swapped = measured["eager, fp8 base, blocks swapped", rows.HIGH]["choices"]
    assert (swapped["compile"], swapped["base"], swapped["blocks_to_swap"]) == ("no", "fp8", 2)
    assert len({found["checksum"] for found in measured.values()}) == 1, "all rows have the same weights"
    assert report["rows"][0]["found"]["flops"] > 0
    assert report["left_out"] == ["sd-scripts: FluxGym's usual flags, 64 px"]
    text = next(tmp_path.glob("*.md")).read_text()
    assert all(f"| {name} |" in text for name, _ in measured)


def test_rows_without_time_left_are_named(tmp_path: Path) -> None:
    ran, report = run_bench(tmp_path, "--seconds", "1")
    assert ran.returncode == 0, ran.stderr
    assert not report["rows"]
    asked = rows.rows(rows.SIZES["tiny"], compiled="", eager="")
    assert len(report["left_out"]) == len(asked)
    assert "ours: compiled, all activations kept, 128 px" in next(tmp_path.glob("*.md")).read_text()


@pytest.mark.parametrize(("limit", "left_out"), [(1, False), (3000, True)])
def test_a_row_that_the_end_of_the_bench_cuts_off_has_not_failed(limit: int, left_out: bool, tmp_path: Path) -> None:
    """The row takes too long and exceeds its own limit, or the bench's."""
    seconds = 0 if left_out else 1e9
    parsed = argparse.Namespace(size="tiny", seconds=seconds, steps=1, only="", limit=limit, out=tmp_path)
    (row, *_) = rows.rows(rows.SIZES["tiny"], compiled="", eager="")
    bench = trainer_gpu.Bench(parsed, tmp_path, None)
    sleeper = workers.Worker(["sleep", "infinity"], tmp_path / "log")
    bench._measure(row, sleeper)
    assert len(bench.report["left_out"]) == left_out
    assert [one["failed"] for one in bench.report["rows"]] == ([] if left_out else ["took more than 1 s"])


@pytest.mark.parametrize(
    ("options", "environ", "sentence"),
    [
        (("--only", "nothing"), {}, "no row matches"),
        ((), {"SD_SCRIPTS": "/nowhere"}, "/nowhere/flux_train_network.py does not exist"),
        (("--size", "full"), {}, "--size full needs a GPU"),
        (("--steps", "0"), {}, "must be at least 1"),
    ],
)
def test_a_wrong_call_gets_one_sentence(
    tmp_path: Path, options: tuple[str, ...], environ: dict[str, str], sentence: str
) -> None:
    ran, report = run_bench(tmp_path / "out", *options, **environ, CUDA_VISIBLE_DEVICES="")
    assert ran.returncode != 0
    assert sentence in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not report


def test_a_row_that_ends_badly_reports_its_last_output(tmp_path: Path) -> None:
    script = "import sys; sys.stdin.readline(); print('error: no such thing'); sys.exit(3)"
    worker = workers.Worker([sys.executable, "-c", script], tmp_path / "log")
    found = worker.run({"result": str(tmp_path / "result")}, limit=100)
    assert found == {"failed": "ended with 3: error: no such thing"}


def test_a_row_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    told = tmp_path / "child"
    script = (
        "import pathlib, subprocess; child = subprocess.Popen(['sleep', 'infinity']);"
        f"pathlib.Path({str(told)!r}).write_text(f'{{child.pid}}.'); child.wait()"
    )
    worker = workers.Worker([sys.executable, "-c", script], tmp_path / "log")
    until(lambda: told.exists() and told.read_text().endswith("."), what="the worker to start a child")
    assert worker.run({"result": str(tmp_path / "result")}, limit=0.1) is None
    child = Path("/proc", told.read_text().rstrip("."), "stat")
    until(lambda: not child.exists() or ") Z " in child.read_text(), what="the child to end")


def report_of(*found: tuple[str, int, str, float]) -> dict[str, Any]:
    """A full-size report of (whose, pixels, name, seconds)."""
    return {
        "size": "full",
        "date": "2026-01-01",
        "command": "x",
        "machine": {"device": "a device"},
        "left_out": [],
        "rows": [
            {
                "row": {"whose": whose, "pixels": pixels, "name": name},
                "side": rows.SIZES["full"].pixels[pixels],
                "flops": 1e12,
                "peak_flops": 1e14,
                "judged": True,
                "failed": None,
                "found": {"seconds": seconds, "fastest": seconds, "slowest": seconds, "first_step": 1.0},
            }
            for whose, pixels, name, seconds in found
        ],
    }


def test_goals_are_met_missed_or_not_measured() -> None:
    report = report_of(
        (rows.OURS, rows.LOW, rows.BEST, 0.090),
        (rows.OURS, rows.HIGH, rows.BEST, 0.400),
        (rows.OURS, rows.LOW, rows.SAME_FLAGS, 0.100),
        (rows.THEIRS, rows.LOW, rows.SAME_FLAGS, 0.201),
        (rows.THEIRS, rows.LOW, rows.NO_CHECKPOINTING, 0.150),
    )
    assert [(value, met) for _, value, met in table.goals(report)] == [
        ("1.45 times", True),  # 90 ms against 62
        ("not measured", None),
        ("1.55 times", False),  # 400 ms against 258
        ("2.01 times", True),  # the same flags: 201 ms against 100
        ("1.67 times", False),  # each at its best: 150 ms against 90
        ("not measured", None),
        ("not measured", None),
    ]
    assert "| **no** |" in table.markdown(report)


def test_different_weights_are_reported() -> None:
    """A sum of a model's weights by another kernel may differ in its last bits, but no more."""
    report = report_of(
        (rows.OURS, rows.LOW, "a", 0.1), (rows.THEIRS, rows.LOW, "b", 0.2), (rows.OURS, rows.LOW, "c", 0.1)
    )
    for row, checksum in zip(report["rows"][:2], (12345.678, 12345.678 * (1 + 1e-12)), strict=True):
        row["found"]["checksum"] = checksum
    assert "the same weights" not in table.markdown(report)
    report["rows"][2]["found"]["checksum"] = 12345.6
    assert "**Not all rows had the same weights" in table.markdown(report)


def test_a_row_is_written_to_the_table() -> None:
    text = table.markdown(report_of((rows.OURS, rows.HIGH, rows.BEST, 0.258)))
    assert f"| 1024 | ours | {rows.BEST} | 258.0 (258.0 to 258.0) | 1.0 | 3.88 | 4% | - | 1.00 |" in text


def test_the_operations_of_a_step_are_those_of_flux() -> None:
    """The expected figures include a fifth product in attention's backward pass, which MFU does not count."""
    size = rows.SIZES["full"]
    found = [importlib.import_module("material").flops_of_step(size, side) / 1e12 for side in size.pixels]
    assert found == pytest.approx([45.8, 92.9, 172.2], rel=0.05)


def test_each_row_has_a_name_of_its_own() -> None:
    asked = rows.rows(rows.SIZES["full"], compiled="--compile", eager="--no_compile")
    assert len({(row.whose, row.pixels, row.name) for row in asked}) == len(asked)


def test_missing_modules_get_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    stood_in = stand_ins.install(packages=("no_such_package", "json"), modules=("no_such_parent.part",))
    assert stood_in == ["no_such_package", "no_such_parent.part"]
    module = importlib.import_module("no_such_package.deeper")

    class Child(module.Parent):  # type: ignore[name-defined]
        pass

    assert isinstance(Child(1, two=2).anything(), stand_ins.StandIn)
    assert isinstance(module.Enumeration.MEMBER.value, stand_ins.StandIn)
    assert importlib.import_module("json") is json
