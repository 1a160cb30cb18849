# SPDX-License-Identifier: Apache-2.0
"""Our trainer on a GPU, at full size: what each part of its speed brings, and kohya-ss/sd-scripts beside it.

    SD_SCRIPTS=~/sd-scripts python3 bench/trainer_gpu.py

It needs a GPU with 100 GB, torch, transformers, accelerate, safetensors, Pillow and numpy, but no model and no
network: the weights are random and made on the device (`gpu_rows/`). SD_SCRIPTS is a checkout, and SD_SCRIPTS_PYTHON
a Python with its requirements (default: this Python; sd-scripts also needs einops and torchvision). Without
SD_SCRIPTS, its rows are left out. It takes less than 8 minutes, and names the rows for which there was no time.
Results are written after each row, to bench/results/ or --out. Exit status 1: a row of our trainer failed, or a goal
is missed.

`--size tiny` and `--size small` run the same rows on a small Flux, also on the CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import itertools
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Before torch is imported, which takes a minute on some machines: the limit is for the entire command.
BEGAN = time.monotonic()
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench" / "gpu_rows"), str(ROOT / "sd-scripts")]

import material  # noqa: E402
import table  # noqa: E402
import torch  # noqa: E402
from rows import SIZES, THEIRS, WARM_UP_STEPS, Row, Size, rows  # noqa: E402
from workers import Worker, Workers  # noqa: E402

from library.report import speed  # noqa: E402

SECONDS, STEPS = 450, 12
# The side of the two square matrices that are multiplied for the ceilings.
SIDES = {"full": 8192, "small": 512, "tiny": 256}
# What is printed for a row: key, factor, unit.
TOLD = (("seconds", 1e3, "ms"), ("peak_bytes", 1e-9, "GB"), ("flops", 1e-12, "TFLOP/s"), ("copied", 1e-12, "TB/s"))
PACKAGES = ("torch", "triton", "transformers", "accelerate", "safetensors", "numpy")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full", help="of the model (default: full, as FLUX.1 dev)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"time for all rows (default {SECONDS})")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps that a row measures (default {STEPS})")
    parser.add_argument(
        "--only", default="", metavar="REGEX", help="only rows whose `OWNER: NAME, N px` matches this"
    )
    parser.add_argument("--limit", type=float, help="seconds for one row (default 60, and 150 where it compiles)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="folder for the results")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error(f"--steps {arguments.steps}: must be at least 1")
    if arguments.size == "full" and not torch.cuda.is_available():
        parser.error("--size full needs a GPU, but torch sees none; --size small and --size tiny run on the CPU")
    return arguments


class Bench:
    """One run: it measures the rows in order, and writes the report after each."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, checkout: Path | None) -> None:
        self._arguments, self._folder, self._checkout = arguments, folder, checkout
        self._size: Size = SIZES[arguments.size]
        self._end = BEGAN + arguments.seconds
        python = os.environ.get("SD_SCRIPTS_PYTHON")
        self._workers = Workers(folder, checkout, Path(python) if python else None)
        self.report: table.Report = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "size": arguments.size,
            "command": " ".join(["python3 bench/trainer_gpu.py", *map(shlex.quote, sys.argv[1:])]),
            "machine": machine(checkout),
            "rows": [],
            "left_out": [],
        }

    def run(self) -> None:
        chosen = self._chosen()
        material.make(self._folder, self._size, pictures=WARM_UP_STEPS + self._arguments.steps + 1)
        try:
            for row, following in itertools.zip_longest(chosen, chosen[1:]):
                if self._left() < row.need:
                    self._leave_out(row)
                    continue
                worker = self._workers.take(row.whose)
                if following is not None:
                    self._workers.start_ahead(following.whose)
                self._measure(row, worker)
        finally:
            self._workers.end()
            self.write()

    def _measure(self, row: Row, worker: Worker) -> None:
        """Measures one row. A row that is cut off because the bench's time is over is left out, not failed."""
        limit = self._arguments.limit or row.limit
        found = worker.run(self._job(row), limit=min(limit, self._left()))
        if found is None and self._left() <= 0:
            self._leave_out(row)
        else:
            self._keep(row, found or {"failed": f"took more than {limit:.0f} s"})

    def _chosen(self) -> list[Row]:
        compiled = f"--compile --compile_backend {'inductor' if has_compiler() else 'aot_eager'}"
        found = rows(self._size, compiled=compiled, eager="--no_compile")
        found = [row for row in found if re.search(self._arguments.only, self._name(row))]
        if not found:
            sys.exit(f"--only {self._arguments.only}: no row matches")
        possible = [row for row in found if self._is_possible(row)]
        for row in found:
            if row not in possible:
                self._leave_out(row)
        return possible

    def _is_possible(self, row: Row) -> bool:
        here = self._checkout is not None if row.whose == THEIRS else True
        return here and (torch.cuda.is_available() or not row.needs_gpu)

    def _leave_out(self, row: Row) -> None:
        self.report["left_out"].append(self._name(row))

    def _name(self, row: Row) -> str:
        return f"{row.whose}: {row.name}, {self._size.pixels[row.pixels]} px"

    def _left(self) -> float:
        return self._end - time.monotonic()

    def _job(self, row: Row) -> dict[str, Any]:
        return {
            "flags": material.flags_of(self._folder, self._size, row),
            "checkpointed": None if row.checkpointed is None else round(row.checkpointed * self._size.blocks),
            "warm_up": WARM_UP_STEPS,
            "steps": self._arguments.steps,
            "side": SIDES[self._arguments.size],
            "params": material.upstream_params(self._size),
            "pictures": str(self._folder / str(self._size.pixels[row.pixels])),
            "result": str(self._folder / f"result-{len(self.report['rows']):02d}.json"),
        }

    def _keep(self, row: Row, found: dict[str, Any]) -> None:
        side = self._size.pixels[row.pixels]
        self.report["rows"].append(
            {
                "row": dataclasses.asdict(row),
                "side": side,
                "flops": material.flops_of_step(self._size, side),
                "peak_flops": speed.peak_of(self.report["machine"]["device"]),
                "judged": self._arguments.size == "full",
                "found": None if "failed" in found else found,
                "failed": found.get("failed"),
            }
        )
        self.write()
        told = found.get("failed") or "; ".join(
            f"{found[key] * scale:.4g} {unit}" for key, scale, unit in TOLD if key in found
        )
        print(f"{self._name(row)}: {told} ({self._left():.0f} s left)", flush=True)

    def write(self) -> None:
        kind = "trainer_gpu" if self._arguments.size == "full" else f"trainer_gpu-{self._arguments.size}"
        base = self._arguments.out / f"{kind}-{self.report['date']}"
        base.with_suffix(".json").write_text(json.dumps(self.report, indent=1) + "\n")
        base.with_suffix(".md").write_text(table.markdown(self.report))


def has_compiler() -> bool:
    """Whether there is the compiler that inductor needs: of C++ for a CPU; of C for a GPU, for Triton's launchers."""
    names = ("cc", "gcc", "clang") if torch.cuda.is_available() else ("g++", "clang++")
    return any(shutil.which(name) for name in names)


def machine(checkout: Path | None) -> dict[str, Any]:
    """The facts about the machine without which a figure means nothing."""
    found: dict[str, Any] = {"device": "a CPU"}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found = {
            "device": properties.name,
            "memory": f"{properties.total_memory / 1e9:.0f} GB",
            "multiprocessors": properties.multi_processor_count,
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
    found |= {"cores": os.cpu_count(), "Python": platform.python_version()}
    found |= {name: _version(name) for name in PACKAGES}
    found["FluxGym"] = _commit(ROOT)
    if checkout is not None:
        found["sd-scripts"] = _commit(checkout)
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """The commit of a checkout; None if the folder is not one. For a copy inside another checkout, git would answer
    with that one's commit."""
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", folder, "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip() or None
    except OSError:
        return None


def find_checkout() -> Path | None:
    named = os.environ.get("SD_SCRIPTS")
    if not named:
        return None
    path = Path(named).absolute()
    if not (path / "flux_train_network.py").is_file():
        sys.exit(f"SD_SCRIPTS: {path}/flux_train_network.py does not exist; give a checkout of kohya-ss/sd-scripts")
    return path


def main() -> int:
    arguments, checkout = parse(), find_checkout()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fg-bench-", dir="/var/tmp") as place:
        bench = Bench(arguments, Path(place), checkout)
        bench.run()
    missed = [goal for goal, _, met in table.goals(bench.report) if met is False] if arguments.size == "full" else []
    failed = [row for row in bench.report["rows"] if row["failed"] and row["row"]["whose"] != THEIRS]
    return 1 if missed or failed else 0


if __name__ == "__main__":
    sys.exit(main())
