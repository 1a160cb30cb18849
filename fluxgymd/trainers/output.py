# SPDX-License-Identifier: Apache-2.0
"""Progress, as it is read from what sd-scripts prints: a trainer that is not ours tells it nowhere else.

Its log lines are wrapped at 80 columns and its bars are redrawn after a `\\r`, on one stream (trainers.md 1.8). So a
phase is told by how a line begins, and a step by the bar `steps:` alone: the bars of caching, of denoising and of
validation look like it. A validation is a part of the training that makes no step, and is seen to go on. After a
resume the bar `steps:` counts from 0 again, to the planned total of all attempts: where the attempt began is added to
the one, and not to the other.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from fluxgym.messages import Phase, Progress
from fluxgymd.trainers.progress import Line, advance, seek

CHUNK_BYTES = 1 << 20
LONGEST_SEGMENT = 1 << 16
"""Characters. What goes on longer without an end of line is no line of sd-scripts; its beginning is let go."""

# How a line begins, once rich's `2026-11-23 13:14:02 INFO     ` is taken off -> what begins there.
MARKERS = {
    "Loading dataset config": Phase.LOADING,
    "prepare images": Phase.LOADING,
    "loading image sizes": Phase.LOADING,
    "preparing accelerator": Phase.LOADING,
    "Building ": Phase.LOADING,
    "Loading state dict": Phase.LOADING,
    "Cast FLUX model": Phase.LOADING,
    "caching latents": Phase.CACHING,
    "caching Text Encoder": Phase.CACHING,
    "cache Text Encoder": Phase.CACHING,
    "import network module": Phase.LOADING,
    "prepare optimizer": Phase.LOADING,
    "resume training from": Phase.LOADING,
    "running training": Phase.LOADING,
    "generating sample images": Phase.SAMPLING,
    "saving checkpoint": Phase.SAVING,
    "saving state": Phase.SAVING,
    "saving last state": Phase.SAVING,
    "model saved": Phase.FINISHING,
}

RICH = re.compile(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)?\s+(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+")
MARKER = re.compile("|".join(map(re.escape, MARKERS)))
# Of so many digits as a number that means something has: a log may hold anything.
N = r"(\d{1,9})"
EPOCH = re.compile(rf"epoch {N}/{N}$")
RATE = r"(\d{1,9}(?:\.\d{1,9})?|\?)(s/it|it/s)"
STEPS = re.compile(rf"steps:\s+\d+%\|[^|]*\| {N}/{N} \[[^<]*<[^,]*,\s*{RATE}(?:, ([^\]]*))?\]")
VALIDATION = re.compile(r"(?:epoch )?validation steps: ")
BAR = re.compile(rf"(?:[\w ]+: )?\s*\d+%\|[^|]*\| {N}/{N} \[")
LOSS = re.compile(r"avr_loss=([^,\]]+)")


def understand(before: Progress | None, segment: str, *, at: float, first_step: int) -> Progress | None:
    """Progress after one more piece of output, a line or one state of a bar; `before` itself if that says nothing.

    `at`: when it was printed, seconds since the epoch. `first_step`: steps that were done before this attempt.
    """
    text = segment[found.end() :] if (found := RICH.match(segment)) else segment
    phase = before.phase if before is not None else Phase.STARTING
    line: Line | None = None
    if found := STEPS.match(text):
        line = _step(before, phase, found, at=at, first_step=first_step)
    elif found := MARKER.match(text):
        line = Line(time=at, phase=MARKERS[found[0]])
    elif found := EPOCH.match(text):
        line = Line(time=at, phase=Phase.TRAINING, epoch=int(found[1]), total_epochs=int(found[2]))
    elif (found := BAR.match(text)) and (phase is not Phase.TRAINING or VALIDATION.match(text)):
        line = Line(time=at, phase=phase, done=int(found[1]), total=int(found[2]))
    return advance(before, line) if line is not None else before


def _step(before: Progress | None, phase: Phase, bar: re.Match[str], *, at: float, first_step: int) -> Line:
    step = first_step + int(bar[1])
    loss = _loss(bar[5])
    # The bar is drawn again while nothing is trained, and at the end: only what is new in it is a step.
    is_new = before is None or step != before.step or (loss is not None and loss != before.average_loss)
    training = is_new and step > first_step and phase is not Phase.FINISHING
    return Line(
        time=at,
        phase=Phase.TRAINING if training else phase,
        step=step,
        total_steps=int(bar[2]),
        average_loss=loss,
        seconds_per_step=_seconds(bar[3], bar[4]),
    )


def _loss(postfix: str | None) -> float | None:
    """None where there is none, or none that is finite: `nan` and `inf` are printed too."""
    found = LOSS.search(postfix or "")
    try:
        value = float(found[1]) if found else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _seconds(rate: str, unit: str) -> float | None:
    value = float(rate) if rate != "?" else 0.0
    if value <= 0:
        return None
    return value if unit == "s/it" else 1 / value


class OutputReader:
    """Reads what was printed since the last time. Blocks on the disk."""

    def __init__(self, log: Path, offset: int, *, first_step: int) -> None:
        self._log = log
        self._offset = offset
        self._first_step = first_step
        self._unended = b""
        self.progress: Progress | None = None

    def read(self) -> bool:
        """Whether there was anything new."""
        before = self.progress
        try:
            at = self._log.stat().st_mtime
            for segment in self._segments():
                self.progress = understand(self.progress, segment, at=at, first_step=self._first_step)
        except OSError:
            pass  # progress is for people; what was read is kept
        return self.progress != before

    def _segments(self) -> Iterator[str]:
        with self._log.open("rb") as file:
            self._offset = seek(file, self._offset)
            while data := file.read(CHUNK_BYTES):
                self._offset += len(data)
                *ended, unended = re.split(rb"[\r\n]+", self._unended + data)
                self._unended = unended[-LONGEST_SEGMENT:]
                yield from (segment.decode(errors="replace") for segment in ended)
        # tqdm ends a bar when it draws the next one; a whole one is taken before, and once more then.
        if self._unended.startswith(b"steps:"):
            yield self._unended.decode(errors="replace")
