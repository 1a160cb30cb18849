# SPDX-License-Identifier: Apache-2.0
"""The progress of one attempt of any trainer: what it reports in metrics.jsonl takes precedence over what it prints.

It gives two results of different types. `progress` is for people: it is shown, and decides nothing. `steps` is what
the end of a training may be judged by (core/outcome.py); it is None unless the files are certainly the ones that the
trainer writes to. Neither can fail, whatever the job has written.
"""

from collections.abc import Sequence

from fluxgym.protocol.messages import Progress
from fluxgymd.core.job import Attempt
from fluxgymd.core.measures.pace import StepTime
from fluxgymd.core.outcome import Steps
from fluxgymd.store.home import JobFolder
from fluxgymd.trainers.progress.metrics import MetricsReader
from fluxgymd.trainers.progress.output import OutputReader


class AttemptProgress:
    """Reads what is new in an attempt's files at each call. Blocks on the disk."""

    def __init__(self, folder: JobFolder, attempt: Attempt, *, printed: bool) -> None:
        """`printed`: its output has the form of sd-scripts' output. The output of a program may mean anything."""
        # Once an attempt is over, nobody writes to its files any more; and in a copied home they have other inodes.
        over = attempt.ended_at is not None
        metrics, log = (None, None) if over else (attempt.metrics_inode, attempt.log_inode)
        self._metrics = MetricsReader(folder.metrics, attempt.metrics_offset, inode=metrics)
        self._output = (
            OutputReader(folder.log, attempt.log_offset, first_step=attempt.step, inode=log) if printed else None
        )

    @property
    def progress(self) -> Progress | None:
        """For people. What was read stays when the files disappear."""
        if self._metrics.progress is not None or self._output is None:
            return self._metrics.progress
        return self._output.progress

    @property
    def steps(self) -> Steps | None:
        """How far the training came; None if it did not say, or if what was read of it may be incomplete."""
        told = self.progress
        if self._output is None or self.problem is not None or told is None or told.step is None:
            return None
        return Steps(done=told.step, planned=told.total_steps)

    @property
    def problem(self) -> str | None:
        """Why the progress is not known at present, as a clause; None as long as the files can be relied on."""
        if self._metrics.problem is not None or self._metrics.progress is not None or self._output is None:
            return self._metrics.problem
        return self._output.problem

    @property
    def work(self) -> int | None:
        """What is done in this phase, in the smallest units that are reported."""
        if self._metrics.progress is not None:
            return self._metrics.work
        return self.progress.done if self.progress is not None else None

    @property
    def highest_step(self) -> int | None:
        """The highest step of this attempt, even if it has reported lower ones since."""
        if self._metrics.progress is not None or self._output is None:
            return self._metrics.highest_step
        return self._output.highest_step

    @property
    def longest_step(self) -> float | None:
        """Seconds, from MetricsReader. Printed output has no times."""
        return self._metrics.longest_step

    @property
    def step_times(self) -> Sequence[StepTime]:
        """The steps seen by the last `read`."""
        if self._metrics.progress is not None or self._output is None:
            return self._metrics.step_times
        return self._output.step_times

    def read(self) -> bool:
        """Whether there was anything new."""
        if self._metrics.read():
            return True
        # Once a trainer has reported in metrics.jsonl, its output is not needed.
        return self._metrics.progress is None and self._output is not None and self._output.read()
