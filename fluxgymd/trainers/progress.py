# SPDX-License-Identifier: Apache-2.0
"""Progress, as our trainer tells it in metrics.jsonl: one JSON object a line, appended, not fsynced.

A line that cannot be read is passed over: progress is for people, and nothing is decided by one line of it.
"""

import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from fluxgym.messages import Phase, Progress
from fluxgymd.core.decoding import decode_with


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """One line of metrics.jsonl (docs/trainer.md)."""

    time: float
    phase: Phase
    done: int | None = None
    total: int | None = None
    work: int | None = None
    step: int | None = None
    total_steps: int | None = None
    epoch: int | None = None
    total_epochs: int | None = None
    loss: float | None = None
    average_loss: float | None = None
    learning_rate: float | None = None
    seconds_per_step: float | None = None


TAIL_BYTES = 8192

_decoder = msgspec.json.Decoder(Line)
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


def advance(before: Progress | None, line: Line) -> Progress:
    """Progress after one more line. Steps and losses stay known through a phase that has none, such as sampling."""
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


def _remaining(step: int | None, total_steps: int | None, seconds_per_step: float | None) -> float | None:
    if step is None or total_steps is None or seconds_per_step is None:
        return None
    return max(0, total_steps - step) * seconds_per_step


class MetricsReader:
    """Reads what was appended since the last time. Blocks on the disk."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self._offset = offset
        self._step_told: Line | None = None
        self.progress: Progress | None = None
        self.work: int | None = None
        """Done in this phase, in the smallest pieces that are told: denoising steps of samples, micro-steps."""
        self.longest_step: float | None = None
        """Seconds: the longest time between two steps of which one was told after the other, of those that were read
        by the last `read`. Where another phase lies between two steps there is none."""

    def read(self) -> bool:
        """Whether there was anything new."""
        self.longest_step = None
        try:
            with self._path.open("rb") as file:
                self._offset = seek(file, self._offset)
                data = file.read()
        except OSError:
            return False
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        for text in data[:whole].splitlines():
            try:
                line = decode_with(_decoder, text)
            except msgspec.MsgspecError:
                continue
            self.progress = advance(self.progress, line)
            self.work = line.done if line.work is None else line.work
            self._time_step(line)
        return whole > 0

    def _time_step(self, line: Line) -> None:
        before = self._step_told
        if line.phase is not Phase.TRAINING:
            self._step_told = None
        elif before is None or before.step != line.step:
            self._step_told = line
            if before is not None:
                self.longest_step = max(self.longest_step or 0.0, line.time - before.time)


def seek(file: BinaryIO, offset: int) -> int:
    """Goes to an offset of a file that is only appended to, and tells it. In one that was emptied meanwhile
    (`> training.log`, logrotate's copytruncate) it is the present end: what stands before it may be older."""
    return file.seek(min(offset, file.seek(0, os.SEEK_END)))


def size(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def tail(log: Path, offset: int) -> str:
    """The end of the training log, from an attempt's start on, with a line for each state of a bar. Blocks on the
    disk."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(offset, end - TAIL_BYTES))
            return file.read().decode(errors="replace").replace("\r", "\n")
    except OSError:
        return ""


def last_line(text: str) -> str | None:
    """The last line that says something."""
    for line in reversed(text.splitlines()):
        if line.strip():
            return line.strip()[:500]
    return None
