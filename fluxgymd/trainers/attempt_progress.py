# SPDX-License-Identifier: Apache-2.0
"""The progress of one attempt of any trainer: what it tells in metrics.jsonl stands over what it prints."""

from fluxgym.messages import Kind, Progress
from fluxgymd.core.job import Attempt
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.output import OutputReader
from fluxgymd.trainers.progress import MetricsReader


class AttemptProgress:
    """Reads what is new of an attempt at each call. Blocks on the disk."""

    def __init__(self, folder: JobFolder, attempt: Attempt, kind: Kind | None) -> None:
        self._metrics = MetricsReader(folder.metrics, attempt.metrics_offset)
        # What a program prints means what it likes.
        self._output = (
            OutputReader(folder.log, attempt.log_offset, first_step=attempt.step)
            if kind is not Kind.PROGRAM
            else None
        )

    @property
    def progress(self) -> Progress | None:
        if self._metrics.progress is not None or self._output is None:
            return self._metrics.progress
        return self._output.progress

    @property
    def work(self) -> int | None:
        """What is done in this phase, in the smallest pieces that are told."""
        if self._metrics.progress is not None:
            return self._metrics.work
        return self.progress.done if self.progress is not None else None

    @property
    def longest_step(self) -> float | None:
        """Seconds, as MetricsReader has it. What is printed carries no times."""
        return self._metrics.longest_step

    def read(self) -> bool:
        """Whether there was anything new."""
        if self._metrics.read():
            return True
        # A trainer that has told once needs not be read between the lines.
        return self._metrics.progress is None and self._output is not None and self._output.read()
