# SPDX-License-Identifier: Apache-2.0
"""Signals that a program ignores from its start, and those that it passes on as ignored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def ignoring(signals: str, command: Sequence[str | Path]) -> list[str | Path]:
    """The command, started by a shell that ignores these signals: `ignoring("INT HUP", ["sleep", "1"])`."""
    return ["sh", "-c", f'trap "" {signals}; exec "$0" "$@"', *command]


SHOW_IGNORED = ("grep", "SigIgn", "/proc/self/status")
"""A command that prints which signals it ignored when it started."""


def numbers(status: str, field: str) -> set[int]:
    """The signals in a field of /proc/PID/status: SigIgn, SigBlk or SigCgt."""
    found = re.search(rf"^{field}:\s*([0-9a-f]+)$", status, re.MULTILINE)
    assert found is not None, f"no {field} in {status!r}"
    mask = int(found[1], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
