# SPDX-License-Identifier: Apache-2.0
"""Processes that run one row each, so that no row inherits another's memory, caches of kernels or settings.

A worker is started while the row before is measured, so it has imported everything when its own row comes. It has its
own session, so that the processes it started (compilers, data loaders) end with it, even after a timeout.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from rows import CEILINGS, OURS, THEIRS

HERE = Path(__file__).resolve().parent
# Compiling takes most of the bench's time but is not measured. So on a large machine it gets more processes than the
# trainer would use, for both trainers.
COMPILERS = {"TORCHINDUCTOR_COMPILE_THREADS": "8"} if (os.cpu_count() or 1) >= 12 else {}


class Worker:
    """One process, which waits for its row."""

    def __init__(self, command: list[str | Path], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **COMPILERS},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, job: dict[str, Any], *, limit: float) -> dict[str, Any] | None:
        """The row's result, or `failed` with one sentence; None if it took longer than `limit` (seconds)."""
        result, in_time = Path(job["result"]), True
        try:
            self._process.communicate((json.dumps(job) + "\n").encode(), timeout=limit)
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            self.end()
        if result.exists():  # even if only the worker's end took too long
            found: dict[str, Any] = json.loads(result.read_text())
            return found
        if not in_time:
            return None
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["without any output"]
        return {"failed": f"ended with {self._process.returncode}: {lines[-1][:300]}"}

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=60)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


class Workers:
    """Starts workers of each kind. `checkout`: kohya-ss/sd-scripts. `python`: a Python that has its requirements."""

    def __init__(self, folder: Path, checkout: Path | None, python: Path | None) -> None:
        self._folder, self._checkout, self._python = folder, checkout, python
        self._ahead: dict[str, Worker] = {}
        self._count = 0

    def start_ahead(self, whose: str) -> None:
        if whose not in self._ahead:
            self._ahead[whose] = self._start(whose)

    def take(self, whose: str) -> Worker:
        return self._ahead.pop(whose, None) or self._start(whose)

    def end(self) -> None:
        for worker in self._ahead.values():
            worker.end()
        self._ahead.clear()

    def _start(self, whose: str) -> Worker:
        self._count += 1
        command: dict[str, list[str | Path]] = {
            CEILINGS: [sys.executable, HERE / "ceilings.py"],
            OURS: [sys.executable, HERE / "ours.py"],
            THEIRS: [self._python or sys.executable, HERE / "upstream.py", self._checkout or ""],
        }
        return Worker(command[whose], self._folder / f"worker-{self._count:02d}.log")
