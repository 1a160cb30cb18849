# SPDX-License-Identifier: Apache-2.0
"""Runs a training inside the test's process, which saves the seconds that importing torch takes.

Everything is the program's own code, except for its outermost lines (`main`), which test_program.py runs.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.state import AcceleratorState

from library.errors import TrainerError
from library.metrics import Metrics, Phase
from library.options.arguments import parse
from library.signals import StopRequest, Wishes
from library.train import training
from library.world import World
from tests.sd_scripts.running import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class InProcessOutcome:
    """`error`: the sentence that a user would see. `status`: the exit status after a stop. `losses`: by step."""

    error: str | None
    status: int | None
    losses: dict[int, float]

    @property
    def steps(self) -> list[int]:
        return list(self.losses)


class RecordingMetrics(Metrics):
    """Records the loss of each step, and sends this process a SIGTERM after step `stop_after`."""

    def __init__(self, stop_after: int | None) -> None:
        super().__init__(None)
        self.losses: dict[int, float] = {}
        self._stop_after = stop_after

    def report(self, phase: Phase, **values: float) -> None:
        if phase == "training" and "loss" in values:  # a completed step
            step = int(values["step"])
            assert step not in self.losses
            self.losses[step] = values["loss"]
            if step == self._stop_after:
                os.kill(os.getpid(), signal.SIGTERM)


def run(settings: Settings, *, stop_after: int | None = None) -> InProcessOutcome:
    """Trains until the end, until a TrainerError, or until the stop."""
    metrics = RecordingMetrics(stop_after)
    error, status = None, None
    with handlers_restored():
        stop = StopRequest()
        signal.signal(signal.SIGTERM, stop._handle)
        try:
            training.run(parse(settings.arguments()), World(), stop=stop, wishes=Wishes(), metrics=metrics)
        except TrainerError as failed:
            error = str(failed)
        except SystemExit as left:
            status = int(left.code or 0)
    return InProcessOutcome(error=error, status=status, losses=metrics.losses)


@contextmanager
def handlers_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    # accelerate keeps the settings of a process's first run for the life of the process.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def interrupted(settings: Settings, *, whole: list[int], stops: list[int]) -> None:
    """Trains with a SIGTERM after each step in `stops`, and asserts that the pieces make the steps `whole`."""
    seen: list[int] = []
    resume = ""
    for stop in stops:
        outcome = run(settings.plus(resume), stop_after=stop)
        assert (outcome.error, outcome.status) == (None, 143)
        seen += outcome.steps
        resume = f"--resume {settings.output_dir / f'lora-step{stop:08d}-state'}"
    assert not (settings.output_dir / "lora.safetensors").exists()
    last = run(settings.plus(resume))
    assert (last.error, last.status) == (None, None)
    assert seen + last.steps == whole
