# SPDX-License-Identifier: Apache-2.0
"""What a training tells while it runs: the bar and lines for people, metrics for the daemon, TensorBoard's events.

Losses come a step late, when the device has them (`loss_reader`), so a step is told after the next one has begun;
`steps(every=True)` waits for all.
"""

from __future__ import annotations

import collections
import time

from torch import Tensor
from torch.optim import Optimizer

from library import optimizer
from library.loss_reader import FiniteWatch, LossReader
from library.metrics import Metrics
from library.options import Options
from library.plan import Plan
from library.progress_bar import StepsBar
from library.tensorboard import Events


class Report:
    """Follows one run. It is told of each micro-step and step; `bar` is shown while it is entered."""

    def __init__(
        self, options: Options, plan: Plan, *, first_step: int, optimizer: Optimizer, metrics: Metrics
    ) -> None:
        self._options, self._plan, self._optimizer, self._metrics = options, plan, optimizer, metrics
        self.bar = StepsBar(done=first_step, total=plan.total_steps)
        self._events = Events.of(options)
        self._losses: collections.deque[float] = collections.deque(maxlen=plan.steps_per_epoch)
        self._reader, self._finite = LossReader(), FiniteWatch()
        self._seconds_per_step = 0.0
        self._began = time.monotonic()
        self._micro_steps = 0

    def say(self, line: str) -> None:
        """A line for people, beside the bar."""
        self.bar.print(line)

    def begin_step(self) -> None:
        """From here on time counts as the next step's."""
        self._began = time.monotonic()

    def end_step(self, step: int, loss: Tensor) -> None:
        """A step has been handed to the device. `loss`: its mean over micro-steps, a scalar there."""
        self._reader.put(step, loss)
        seconds = time.monotonic() - self._began
        self._seconds_per_step += (seconds - self._seconds_per_step) * (0.1 if self._seconds_per_step else 1.0)

    def steps(self, *, every: bool) -> None:
        """The steps whose losses have come. Raises TrainerError where they are no numbers any more."""
        for step, loss in self._reader.take(every=every):
            self._step(step, loss)
            self._finite.see(step, loss)

    def _step(self, step: int, loss: float) -> None:
        self._losses.append(loss)
        average = sum(self._losses) / len(self._losses)
        self.bar.step(average)
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        clip_rate = rates[0] if self._options.trains_clip else None
        self._events.step(step, loss=loss, average=average, clip=clip_rate, unet=rates[-1])
        if self._plan.ends_epoch(step):
            self._events.scalars({"loss/epoch_average": average}, step=self._plan.epoch_of(step))
        self._metrics.report(
            "training",
            step=step,
            totalSteps=self._plan.total_steps,
            epoch=self._plan.epoch_of(step),
            totalEpochs=self._plan.total_epochs,
            loss=loss,
            averageLoss=average,
            learningRate=optimizer.learning_rate(self._optimizer, self._options),
            secondsPerStep=round(self._seconds_per_step, 6),
        )

    def micro_step(self, *, steps_done: int) -> None:
        """A forward pass that does not end a step."""
        self._micro_steps += 1
        self._metrics.report_piece(
            "training", step=steps_done, totalSteps=self._plan.total_steps, work=self._micro_steps
        )

    def validation(self, step: int, loss: float) -> None:
        """The validation loss with the weights after `step`."""
        self.say(f"validation loss after step {step}: {loss:.6f}")
        self._metrics.report("training", step=step, totalSteps=self._plan.total_steps, validationLoss=loss)
        self._events.scalars({"loss/validation/step_average": loss}, step=step)
        if self._plan.ends_epoch(step):
            self._events.scalars({"loss/validation/epoch_average": loss}, step=self._plan.epoch_of(step))
