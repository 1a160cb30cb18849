# SPDX-License-Identifier: Apache-2.0
"""Runs a short Python program as another user of this machine, which needs root."""

import os
import subprocess
import sys

import pytest

from tests.harness.waiting import DEADLINE_SECONDS

ROOT_UID = 0
NOBODY = 65534
EVERYBODYS_PYTHON = os.path.realpath(sys.executable)
"""The system's: another user may have no way to the one in this checkout, which may be in somebody's home."""


def run_as(uid: int, program: str, *arguments: str) -> str:
    """Runs a program, which must succeed. Returns its output without white space around it."""
    if os.geteuid() != ROOT_UID:
        pytest.fail("this test becomes another user and needs root: run `sudo ./dev test`", pytrace=False)
    done = subprocess.run(
        [EVERYBODYS_PYTHON, "-c", program, *arguments],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
