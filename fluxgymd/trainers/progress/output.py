# SPDX-License-Identifier: Apache-2.0
"""Progress, read from sd-scripts' printed output: sd-scripts reports it nowhere else.

It writes log lines, wrapped at 80 columns, and bars, redrawn after a `\\r`, to one stream. A phase is recognized by
the beginning of a line, and a step only by the bar `steps:`, since the bars of caching, denoising and validation look
alike. A validation belongs to the phase training: its bar shows that work goes on, but makes no step. After a resume
the bar `steps:` counts from 0 again, while its total is still the plan of all attempts. So the steps before the
attempt are added to the count, but not to the total.
"""

import math
import re
from pathlib import Path

from fluxgym.protocol.messages import Phase, Progress
from fluxgymd.core.measures.pace import StepTime
from fluxgymd.trainers.progress.appended import Appended
from fluxgymd.trainers.progress.metrics import MetricsLine, advance, highest

ENDS = re.compile(rb"[\r\n]+")

# Beginning of a line, without rich's prefix `2026-11-23 13:14:02 INFO     ` -> the phase that begins there.
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
    # FluxGym's trainer, whose output is read if it cannot write metrics.jsonl.
    "resuming from": Phase.LOADING,
    "starting to train": Phase.LOADING,
    "training finished": Phase.FINISHING,
}

RICH = re.compile(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)?\s+(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+")
MARKER = re.compile("|".join(map(re.escape, MARKERS)))
# At most 9 digits: a log may hold anything, and no meaningful number has more.
N = r"(\d{1,9})"
EPOCH = re.compile(rf"epoch {N}/{N}$")
RATE = r"(\d{1,9}(?:\.\d{1,9})?|\?)(s/it|it/s)"
STEPS = re.compile(rf"steps:\s+\d+%\|[^|]*\| {N}/{N} \[[^<]*<[^,]*,\s*{RATE}(?:, ([^\]]*))?\]")
VALIDATION = re.compile(r"(?:epoch )?validation steps: ")
BAR = re.compile(rf"(?:[\w ]+: )?\s*\d+%\|[^|]*\| {N}/{N} \[")
LOSS = re.compile(r"avr_loss=([^,\]]+)")


def understand(before: Progress | None, segment: str, *, at: float, first_step: int) -> Progress | None:
    """Progress after one more piece of output (a line, or one state of a bar); `before` itself if it says nothing.

    `at`: when it was printed, in seconds since the Unix epoch. `first_step`: steps done before this attempt.
    """
    text = segment[found.end() :] if (found := RICH.match(segment)) else segment
    phase = before.phase if before is not None else Phase.STARTING
    line: MetricsLine | None = None
    if found := STEPS.match(text):
        line = _step(before, phase, found, at=at, first_step=first_step)
    elif found := MARKER.match(text):
        line = MetricsLine(time=at, phase=MARKERS[found[0]])
    elif found := EPOCH.match(text):
        line = MetricsLine(time=at, phase=Phase.TRAINING, epoch=int(found[1]), total_epochs=int(found[2]))
    elif (found := BAR.match(text)) and (phase is not Phase.TRAINING or VALIDATION.match(text)):
        line = MetricsLine(time=at, phase=phase, done=int(found[1]), total=int(found[2]))
    return advance(before, line) if line is not None else before


def _step(before: Progress | None, phase: Phase, bar: re.Match[str], *, at: float, first_step: int) -> MetricsLine:
    step = first_step + int(bar[1])
    loss = _loss(bar[5])
    # The bar is also redrawn while nothing is trained, and at the end. Only a new count or a new loss means a step.
    is_new = before is None or step != before.step or (loss is not None and loss != before.average_loss)
    training = is_new and step > first_step and phase is not Phase.FINISHING
    return MetricsLine(
        time=at,
        phase=Phase.TRAINING if training else phase,
        step=step,
        total_steps=int(bar[2]),
        average_loss=loss,
        seconds_per_step=_seconds(bar[3], bar[4]),
    )


def _loss(postfix: str | None) -> float | None:
    """The loss; None if there is none or it is not finite (`nan` and `inf` are printed too)."""
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
    """Reads what was printed since the last read. Blocks on the disk."""

    def __init__(self, log: Path, offset: int, *, first_step: int, inode: int | None = None) -> None:
        """`offset` and `inode`: where the attempt began in the log, and which file the log was (see Appended)."""
        self._file = Appended(log, offset, inode=inode, ends=ENDS)
        self._first_step = first_step
        self.progress: Progress | None = None
        self.highest_step: int | None = None
        """The highest step that was printed."""
        self._step_told: Progress | None = None
        self.step_times: list[StepTime] = []
        """The steps seen by the last `read`. Everything printed between two reads gets the time of the second."""

    @property
    def problem(self) -> str | None:
        """Why the log says nothing about the attempt, as a clause; None if it does."""
        return self._file.problem

    def read(self) -> bool:
        """Reads what is new, and returns whether the progress changed."""
        before = self.progress
        self.step_times = []
        for line in self._file.lines():
            self._understand(line)
        # tqdm ends a bar only when it draws the next one. A complete bar is read before that, and then once more.
        if self._file.unended.startswith(b"steps:"):
            self._understand(self._file.unended)
        return self.progress != before

    def _understand(self, segment: bytes) -> None:
        text, at = segment.decode(errors="replace"), self._file.modified_at
        self.progress = understand(self.progress, text, at=at, first_step=self._first_step)
        if self.progress is not None:
            self.highest_step = highest(self.highest_step, self.progress.step)
            self._time_step(self.progress)

    def _time_step(self, told: Progress) -> None:
        before = self._step_told
        if told.phase is not Phase.TRAINING:
            self._step_told = None
        elif before is None or before.step != told.step:
            self._step_told = told
            seconds = told.updated_at - before.updated_at if before is not None else -1.0
            if before is not None and seconds >= 0 and (steps := (told.step or 0) - (before.step or 0)) > 0:
                self.step_times.append(StepTime(at=told.updated_at, seconds=seconds, steps=steps))
