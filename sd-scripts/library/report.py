# SPDX-License-Identifier: Apache-2.0
"""What a training tells while it runs: the bar and lines for people, metrics for the daemon, TensorBoard's events.

Losses come a step late, when the device has them (`loss_reader`), so a step is told after the next one has begun;
`steps(every=True)` waits for all. A step's time ends with `steps`, where the program waits for the device: before it
the step is only in the queue.
"""

from __future__ import annotations

import collections
import resource
import time

import torch
from torch import Tensor
from torch.optim import Optimizer

from library import optimizer, speed
from library.batches import Batch
from library.loss_reader import FiniteWatch, LossReader
from library.metrics import Metrics
from library.options import Options
from library.plan import Plan
from library.progress_bar import StepsBar
from library.speed import PictureCost, Speedometer
from library.tensorboard import Events


class Report:
    """Follows one run. It is told of each micro-step and step; `bar` is shown while it is entered."""

    def __init__(
        self,
        options: Options,
        plan: Plan,
        *,
        first_step: int,
        optimizer: Optimizer,
        metrics: Metrics,
        cost: PictureCost,
        peak: float | None,
        on_gpu: bool,
    ) -> None:
        """`peak`: FLOP/s of the device, None if not known."""
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

    def say(self, line: str) -> None:
        """A line for people, beside the bar."""
        self.bar.print(line)

    def begin_step(self) -> None:
        """From here on time counts as the next step's."""
        self._began = time.monotonic()
        self._images = self._flops = 0

    def batch(self, batch: Batch) -> None:
        """One of the step's batches."""
        images, _, height, width = batch.latents_BChw.shape
        of_one = self._cost.of(image_tokens=height * width // 4, text_tokens=batch.hidden_BTX.shape[1])
        self._images += images
        self._flops += images * of_one

    def end_step(self, step: int, loss: Tensor) -> None:
        """A step has been handed to the device. `loss`: its mean over micro-steps, a scalar there."""
        self._reader.put(step, loss)

    def steps(self, *, every: bool) -> None:
        """The steps whose losses have come. Raises TrainerError where they are no numbers any more."""
        for step, loss in self._reader.take(every=every):
            self._step(step, loss)
            self._finite.see(step, loss)
        self._end_time()

    def _end_time(self) -> None:
        """The time of the step that was handed over, if one was since the last time."""
        if self._began is None:
            return
        seconds = time.monotonic() - self._began
        self._began = None
        self._seconds_per_step += (seconds - self._seconds_per_step) * (0.1 if self._seconds_per_step else 1.0)
        self._speedometer.add(seconds=seconds, images=self._images * self._plan.processes, flops=self._flops)

    def _step(self, step: int, loss: float) -> None:
        self._losses.append(loss)
        average = sum(self._losses) / len(self._losses)
        self.bar.step(average)
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        clip_rate = rates[0] if self._options.trains_clip else None
        self._events.step(step, loss=loss, average=average, clip=clip_rate, unet=rates[-1])
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
        """What is known of it, by the names of the metrics."""
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
        """Bytes: of the GPU's memory that PyTorch has used at most, or of the process's on a CPU."""
        if self._on_gpu:
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

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
