# SPDX-License-Identifier: Apache-2.0
"""Progress for the daemon: one JSON object per line, appended to the file that FLUXGYM_METRICS names.

Each line is one write to a descriptor opened with O_APPEND, so lines of several attempts never mix; nothing is
fsynced. At most ten lines a second are written, but always the first two and the last of each phase. If the file
cannot be written, a warning on stderr says so once, and the training continues and keeps trying: after a full disk, a
training that reports nothing any more would look like one that hangs. docs/trainer.md lists the keys.
"""

from __future__ import annotations

import json
import math
import os
import time
from typing import Literal, Self

from library.findings import warn

Phase = Literal["starting", "loading", "caching", "training", "sampling", "saving", "finishing"]
MINIMUM_INTERVAL_SECONDS = 0.1
SILENCE_SECONDS = 1.0
"""After this much silence, a piece of an item is reported too (see `Metrics.report_piece`)."""


class Metrics:
    """Writes progress lines. If `path` is None, it writes nothing."""

    def __init__(self, path: str | None) -> None:
        self._descriptor: int | None = None
        self._torn = False
        self._complained = False
        self._phase: Phase | None = None
        self._held_back: dict[str, object] | None = None
        self._written_at = 0.0
        self._next_at = 0.0
        if path:
            try:
                self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                self._complain(error)

    @classmethod
    def from_environment(cls) -> Self:
        return cls(os.environ.get("FLUXGYM_METRICS"))

    def report(self, phase: Phase, **values: float) -> None:
        """Writes a line with the current phase and its values. Calls in quick succession are thinned out; the last
        one is kept for the next call or `flush`."""
        # JSON has no NaN: a loss that is not finite is written as null.
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line: dict[str, object] = {"time": round(time.time(), 3), "phase": phase, **finite}
        if phase != self._phase:
            self.flush()
            self._phase = phase
            self._write(line)
            self._next_at = self._written_at  # the first line only says that the phase begins; the second has values
        elif time.monotonic() >= self._next_at:
            self._write(line)
        else:
            self._held_back = line

    def report_piece(self, phase: Phase, **values: float) -> None:
        """Reports a piece of an item (a micro-step, a denoising step), for items that take long. It is written only
        after SILENCE_SECONDS without a line, and never replaces another line."""
        silent = self._held_back is None and time.monotonic() - self._written_at >= SILENCE_SECONDS
        if silent or phase != self._phase:
            self.report(phase, **values)

    def flush(self) -> None:
        """Writes the line that is held back, if there is one."""
        if self._held_back is not None:
            self._write(self._held_back)

    def _write(self, line: dict[str, object]) -> None:
        self._held_back = None
        self._written_at = time.monotonic()
        self._next_at = self._written_at + MINIMUM_INTERVAL_SECONDS
        if self._descriptor is None:
            return
        end = b"\n" if self._torn else b""  # ends a line that was written only in part
        data = end + json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            self._torn = os.write(self._descriptor, data) < len(data)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            warn(f"cannot write progress to FLUXGYM_METRICS: {error}")
        self._complained = True
