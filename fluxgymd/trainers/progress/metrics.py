# SPDX-License-Identifier: Apache-2.0
"""Progress, as our trainer reports it in metrics.jsonl: one JSON object per line, appended without fsync.

Any program may write anything to this file. A line that is invalid, or holds a number that no training has, is
skipped: progress is for people, and no single line of it decides anything.
"""

import os
import re
from pathlib import Path
from typing import Annotated

import msgspec

from fluxgym.files import open_for_reading
from fluxgym.protocol.messages import Phase, Progress
from fluxgymd.core.journal.decoding import Count, decode_with
from fluxgymd.core.measures.pace import StepTime
from fluxgymd.trainers.progress.appended import Appended

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Time = Annotated[float, msgspec.Meta(ge=0, le=1e11)]


class MetricsLine(msgspec.Struct, frozen=True, rename="camel"):
    """One line of metrics.jsonl (docs/trainer.md)."""

    time: Time
    phase: Phase
    done: Count | None = None
    total: Count | None = None
    work: Count | None = None
    step: Count | None = None
    total_steps: Count | None = None
    epoch: Count | None = None
    total_epochs: Count | None = None
    loss: float | None = None
    average_loss: float | None = None
    learning_rate: float | None = None
    seconds_per_step: Seconds | None = None
    validation_loss: float | None = None
    peak_memory_bytes: Count | None = None


TAIL_BYTES = 8192
NEWLINE = re.compile(rb"\n")

_decoder = msgspec.json.Decoder(MetricsLine)
_STICKY = (
    "step",
    "total_steps",
    "epoch",
    "total_epochs",
    "loss",
    "average_loss",
    "learning_rate",
    "seconds_per_step",
)


def parse(text: bytes) -> MetricsLine | None:
    """Parses a line of metrics.jsonl; None if it is invalid."""
    try:
        line: MetricsLine = decode_with(_decoder, text)
    except msgspec.MsgspecError:
        return None
    return line


def advance(before: Progress | None, line: MetricsLine) -> Progress:
    """Progress after one more line. Steps and losses are kept through a phase that has none, such as sampling."""
    values = {name: getattr(line, name) for name in _STICKY}
    if before is not None:
        values = {name: getattr(before, name) if value is None else value for name, value in values.items()}
    return Progress(
        phase=line.phase,
        done=line.done,
        total=line.total,
        remaining_seconds=_remaining(values["step"], values["total_steps"], values["seconds_per_step"]),
        updated_at=line.time,
        **values,
    )


def _beyond_the_end(line: MetricsLine, before: Progress | None) -> bool:
    """Whether a line reports a step beyond the last one. If it counted, each true step would look repeated."""
    total = before.total_steps if line.total_steps is None and before is not None else line.total_steps
    return line.step is not None and total is not None and line.step > total


def _remaining(step: int | None, total_steps: int | None, seconds_per_step: float | None) -> float | None:
    if step is None or total_steps is None or seconds_per_step is None:
        return None
    return max(0, total_steps - step) * seconds_per_step


class MetricsReader:
    """Reads what was appended since the last read. Blocks on the disk."""

    def __init__(self, path: Path, offset: int, *, inode: int | None = None) -> None:
        """`offset` and `inode`: where the attempt began in the file, and which file it was (see Appended)."""
        self._file = Appended(path, offset, inode=inode, ends=NEWLINE)
        self._step_told: MetricsLine | None = None
        self.progress: Progress | None = None
        self.work: int | None = None
        """What is done in this phase, in the smallest units that are reported: denoising steps, micro-steps."""
        self.highest_step: int | None = None
        """The highest step that was reported. Steps that are repeated are lower."""
        self.longest_step: float | None = None
        """The longest time in seconds between two consecutive steps, of those that the last `read` saw. Steps with
        another phase between them are not consecutive."""
        self.step_times: list[StepTime] = []
        """The consecutive steps seen by the last `read`, without repeated ones."""

    @property
    def problem(self) -> str | None:
        """Why the file says nothing about the attempt, as a clause; None if it does."""
        return self._file.problem

    def read(self) -> bool:
        """Reads what is new, and returns whether there was anything."""
        self.longest_step = None
        self.step_times = []
        is_new = False
        for text in self._file.lines():
            is_new = True
            line = parse(text)
            if line is None or _beyond_the_end(line, self.progress):
                continue
            self.progress = advance(self.progress, line)
            self.work = line.done if line.work is None else line.work
            self.highest_step = highest(self.highest_step, line.step)
            self._time_step(line)
        return is_new

    def _time_step(self, line: MetricsLine) -> None:
        before = self._step_told
        if line.phase is not Phase.TRAINING:
            self._step_told = None
        elif before is None or before.step != line.step:
            self._step_told = line
            if before is not None:
                seconds = line.time - before.time
                self.longest_step = max(self.longest_step or 0.0, seconds)
                if seconds >= 0 and (steps := (line.step or 0) - (before.step or 0)) > 0:
                    self.step_times.append(StepTime(at=line.time, seconds=seconds, steps=steps))


def highest(before: int | None, step: int | None) -> int | None:
    """The higher of two steps, either of which may be unknown."""
    return max((one for one in (before, step) if one is not None), default=None)


def size(path: Path) -> int:
    """The size of a file in bytes; 0 if there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def tail(log: Path, offset: int) -> str:
    """The end of the training log, but nothing before `offset`, where the attempt began. Each state of a bar is a
    separate line. Empty if the log cannot be read. Blocks on the disk."""
    try:
        with open_for_reading(log) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(offset, end - TAIL_BYTES))
            return file.read().decode(errors="replace").replace("\r", "\n")
    except OSError:
        return ""


def last_line(text: str) -> str | None:
    """The last line that people can read. Characters that cannot be printed are replaced by spaces."""
    for line in reversed(text.splitlines()):
        plain = "".join(letter if letter.isprintable() else " " for letter in line).strip()
        if plain:
            return plain[:500]
    return None
