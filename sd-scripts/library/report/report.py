# SPDX-License-Identifier: Apache-2.0
"""What a training reports while it runs: the bar and lines for people, metrics for the daemon, TensorBoard events.

Losses arrive one step late, when the device has computed them (`loss_reader`), so a step is reported after the next
one has begun; `steps(every=True)` waits for all. A step's time ends in `steps`, where the program waits for the
device; before that, the step is only queued.
"""

from __future__ import annotations

import collections
import resource
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from library.findings import warning_line
from library.flow.batches import Batch
from library.metrics import Metrics
from library.optim import optimizer, rate_tags
from library.options.options import Options
from library.options.plan import Plan
from library.report import speed
from library.report.loss_reader import FiniteWatch, LossReader
from library.report.progress_bar import StepsBar
from library.report.speed import PictureCost, Speedometer
from library.report.tensorboard import Events


class Report:
    """Reports on one run, whose loop calls it at each micro-step and step. `bar` is shown while its context is
    entered."""

    def __init__(
        self,
        options: Options,
        plan: Plan,
        *,
        first_step: int,
        optimizer: Optimizer,
        group_names: Sequence[str],
        metrics: Metrics,
        cost: PictureCost,
        peak: float | None,
        on_gpu: bool,
    ) -> None:
        """`group_names`: those of the optimizer's groups. `peak`: FLOP/s of this process's GPU, None if unknown."""
        self._group_names = group_names
        self._options, self._plan, self._optimizer, self._metrics = options, plan, optimizer, metrics
        self.bar = StepsBar(done=first_step, total=plan.total_steps)
        self._events = Events.of(options)
        self._losses: collections.deque[float] = collections.deque(maxlen=plan.steps_per_epoch)
        self._reader, self._finite = LossReader(), FiniteWatch()
        self._cost, self._on_gpu, self._speedometer = cost, on_gpu, Speedometer(peak=peak)
        self._seconds_per_step = 0.0
        self._began: float | None = None
        self._images = self._flops = 0
        self._micro_steps = 0

    @property
    def any_finite(self) -> bool:
        """Whether this run has had a finite loss."""
        return self._finite.seen

    def say(self, line: str) -> None:
        """Prints a line for people, without breaking the bar."""
        self.bar.print(line)

    def warn(self, sentence: str) -> None:
        """Prints a warning where the lines for people are, without breaking the bar."""
        self.say(warning_line(sentence))

    def begin_step(self) -> None:
        """Starts the clock of the next step."""
        self._began = time.monotonic()
        self._images = self._flops = 0

    def batch(self, batch: Batch) -> None:
        """Counts the pictures and FLOPs of one of the step's batches."""
        images, _, height, width = batch.latents_BChw.shape
        of_one = self._cost.of(height, width)
        self._images += images
        self._flops += images * of_one

    def end_step(self, step: int, loss: Tensor, norms: Mapping[str, Tensor]) -> None:
        """Notes that a step is queued on the device. `loss`: its mean over the micro-steps, a scalar on the device;
        `norms`: more such scalars by their TensorBoard tags."""
        self._reader.put(step, loss, norms)

    def steps(self, *, every: bool) -> None:
        """Reports the steps whose losses have arrived. Raises NotFinite if the losses are no longer finite."""
        for step, loss, norms in self._reader.take(every=every):
            self._step(step, loss, norms)
            self._finite.see(step, loss)
        self._end_time()

    def _end_time(self) -> None:
        """Takes the time of the step that was queued, if there was one since the last call."""
        if self._began is None:
            return
        seconds = time.monotonic() - self._began
        self._began = None
        self._seconds_per_step += (seconds - self._seconds_per_step) * (0.1 if self._seconds_per_step else 1.0)
        self._speedometer.add(seconds=seconds, images=self._images * self._plan.processes, flops=self._flops)

    def _step(self, step: int, loss: float, norms: Mapping[str, float]) -> None:
        self._losses.append(loss)
        average = sum(self._losses) / len(self._losses)
        self.bar.step(average)
        rates = rate_tags.tags(self._optimizer.param_groups, self._group_names)
        self._events.scalars({"loss/current": loss, "loss/average": average, **rates, **norms}, step=step)
        if self._plan.ends_epoch(step):
            self._events.scalars({"loss/epoch_average": average}, step=self._plan.epoch_of(step))
        speeds = self._speeds()
        if self._plan.ends_epoch(step) or step == self._plan.total_steps:
            self._tell_speed(step, speeds)
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
            **speeds,
        )

    def _speeds(self) -> dict[str, float]:
        """Peak memory, and the speed as far as it is known, by the names of the metrics."""
        found: dict[str, float] = {"peakMemoryBytes": self._peak_memory()}
        if (now := self._speedometer.speed) is not None:
            found["imagesPerSecond"] = round(now.images_per_second, 4)
            if now.mfu is not None:
                found["mfu"] = round(now.mfu, 4)
        return found

    def _tell_speed(self, step: int, speeds: dict[str, float]) -> None:
        if (now := self._speedometer.speed) is not None:
            self.say(speed.sentence(now, peak_memory=self._peak_memory(), on_gpu=self._on_gpu))
            seconds = {"secondsPerStep": now.seconds_per_step}
            self._events.scalars({f"speed/{name}": value for name, value in (seconds | speeds).items()}, step=step)

    def _peak_memory(self) -> int:
        """The peak in bytes: of the GPU memory that PyTorch allocated, or of the process's memory on a CPU."""
        if self._on_gpu:
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def micro_step(self, *, steps_done: int) -> None:
        """Counts a forward pass, and reports it if nothing else was reported for a while."""
        self._micro_steps += 1
        self._metrics.report_piece(
            "training", step=steps_done, totalSteps=self._plan.total_steps, work=self._micro_steps
        )

    def validation(self, step: int, loss: float) -> None:
        """Reports the validation loss of the weights after `step`."""
        self.say(f"validation loss after step {step}: {loss:.6f}")
        self._metrics.report("training", step=step, totalSteps=self._plan.total_steps, validationLoss=loss)
        self._events.scalars({"loss/validation/step_average": loss}, step=step)
        if self._plan.ends_epoch(step):
            self._events.scalars({"loss/validation/epoch_average": loss}, step=self._plan.epoch_of(step))
