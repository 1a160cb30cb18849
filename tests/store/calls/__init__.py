# SPDX-License-Identifier: Apache-2.0
"""Runs a Python program and reports the order in which it made files durable, as seen by the C library (calls.c)."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.harness.waiting import DEADLINE_SECONDS

SOURCE = Path(__file__).with_name("calls.c")


def build(folder: Path) -> Path:
    """Compiles the library to preload; returns its path."""
    library = folder / "calls.so"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", str(library), str(SOURCE), "-ldl"], check=True, timeout=DEADLINE_SECONDS)
    return library


def calls_of(arguments: Sequence[str | Path], *, library: Path, under: Path, cwd: Path) -> list[str]:
    """The calls that `python ARGUMENTS` made on files below the folder `under`, one line each."""
    lines = library.with_name("lines")
    lines.unlink(missing_ok=True)
    environment = {"LD_PRELOAD": library, "FLUXGYM_TEST_CALLS": lines, "FLUXGYM_TEST_UNDER": under.resolve()}
    subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    return lines.read_text(encoding="utf-8").splitlines()
