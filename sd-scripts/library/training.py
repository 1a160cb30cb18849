# SPDX-License-Identifier: Apache-2.0
"""One training from start to end: check, encode, load, train, save. The loop is `_train`.

After each optimizer step the run is in a state that can be saved exactly; a stop, a save and the samples happen
there and nowhere else.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
from dataclasses import dataclass
from typing import NoReturn

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from library import (
    debug_hang,
    determinism,
    metadata,
    model,
    network,
    optimizer,
    plan,
    preflight,
    randomness,
    schedulers,
    states,
)
from library.batches import Batch, BatchSource, positions, prefetch
from library.ema import MovingAverage
from library.encoding import Encoded, Encoding
from library.errors import TrainerError
from library.flux_model import Flux
from library.lora import LoRANetwork
from library.loss_reader import FiniteWatch, LossReader
from library.metrics import Metrics
from library.names import Moment
from library.options import Options
from library.output import Output
from library.preflight import Inputs
from library.progress_bar import StepsBar
from library.sampling import Sampler
from library.signals import StopRequest, Wishes
from library.tensorboard import Events
from library.validation import Validation

TRAINING_TYPES = {"no": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a step works on."""

    transformer: Flux
    clip: nn.Module | None
    network: LoRANetwork
    optimizer: Optimizer
    scheduler: LRScheduler
    average: MovingAverage | None


def run(options: Options, *, stop: StopRequest, wishes: Wishes, metrics: Metrics) -> None:
    """Trains, or goes on from a state, until the final LoRA is written.

    Raises TrainerError for what the user can put right, and SystemExit with 128 + signal after a stop.
    """
    debug_hang.arm(options.debug_hang, once=options.debug_hang_once, before=metrics.flush)
    inputs = preflight.check(options)
    model.choose_threads(inputs.flux_parameters)
    determinism.settle(deterministic=inputs.choices.deterministic)
    accelerator = Accelerator(
        mixed_precision=inputs.choices.mixed_precision,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
    )
    dtype = TRAINING_TYPES[inputs.choices.mixed_precision]
    print(f"accelerator device: {accelerator.device}", flush=True)
    encoded = Encoding(
        options=options,
        dataset=inputs.pictures,
        prompts=inputs.prompts,
        t5_length=inputs.t5_length,
        device=accelerator.device,
        dtype=dtype,
        stop=stop,
        metrics=metrics,
    ).run()
    metrics.report("loading")
    debug_hang.here("loading")
    parts = _load(options, inputs, encoded, accelerator, dtype)
    stop.defer()
    stop.leave_if_requested()
    _print_plan(options, inputs)
    _Run(options, inputs, encoded, parts, accelerator, dtype, stop, wishes, metrics).train()
    metrics.flush()


def _load(options: Options, inputs: Inputs, encoded: Encoded, accelerator: Accelerator, dtype: torch.dtype) -> Parts:
    """The frozen transformer, the LoRA on it, and what the state says of both."""
    transformer = model.load_transformer(
        options.pretrained_model_name_or_path, inputs.flux, dtype=dtype, device=accelerator.device
    )
    transformer.gradient_checkpointing = inputs.choices.gradient_checkpointing
    lora = network.build(options, transformer=transformer, clip=encoded.clip, seed=inputs.seed).to(accelerator.device)
    built = optimizer.build(lora, options)
    scheduler = schedulers.build(built, options, total_steps=inputs.plan.total_steps)
    average = MovingAverage(lora, decay=options.ema_decay) if options.ema_decay is not None else None
    if inputs.state and inputs.progress:
        print(f"resume training from {inputs.state} at step {inputs.first_step}", flush=True)
        states.load(
            inputs.state,
            network=lora,
            optimizer=built,
            scheduler=scheduler,
            average=average,
            progress=inputs.progress,
        )
        optimizer.begin(built)
    return Parts(
        transformer=transformer,
        clip=encoded.clip,
        network=lora,
        optimizer=built,
        scheduler=scheduler,
        average=average,
    )


def _print_plan(options: Options, inputs: Inputs) -> None:
    """The lines that programs read from sd-scripts' output (trainers.md 1.8)."""
    planned = inputs.plan
    sizes = ", ".join(str(config.batch_size) for config in inputs.dataset.configs)
    print(
        "running training / 学習開始\n"
        f"  num train images * repeats / 学習画像の数×繰り返し回数: {inputs.dataset.repeated}\n"  # noqa: RUF001
        f"  num batches per epoch / 1epochのバッチ数: {planned.batches_per_epoch}\n"
        f"  num epochs / epoch数: {planned.total_epochs}\n"
        f"  batch size per device / バッチサイズ: {sizes}\n"
        f"  gradient accumulation steps / 勾配を合計するステップ数 = {options.gradient_accumulation_steps}\n"
        f"  total optimization steps / 学習ステップ数: {planned.total_steps}",
        flush=True,
    )


class _Run:
    """The loop and what is due after each step."""

    def __init__(
        self,
        options: Options,
        inputs: Inputs,
        encoded: Encoded,
        parts: Parts,
        accelerator: Accelerator,
        dtype: torch.dtype,
        stop: StopRequest,
        wishes: Wishes,
        metrics: Metrics,
    ) -> None:
        self.options, self.inputs, self.plan = options, inputs, inputs.plan
        self.parts, self.accelerator, self.dtype = parts, accelerator, dtype
        self.stop, self.wishes, self.metrics = stop, wishes, metrics
        self.bar = StepsBar(done=inputs.first_step, total=inputs.plan.total_steps)
        self.losses: collections.deque[float] = collections.deque(maxlen=inputs.plan.steps_per_epoch)
        self.reader, self.finite = LossReader(), FiniteWatch()
        self.seconds_per_step = 0.0
        self.micro_steps = 0
        session = metadata.Session.new()
        self.output = Output(
            options=options,
            network=parts.network,
            metadata_at=lambda step: metadata.build(
                options=options,
                dataset=inputs.dataset,
                plan=inputs.plan,
                seed=inputs.seed,
                session=session,
                optimizer=f"{type(parts.optimizer).__module__}.{type(parts.optimizer).__name__}",
                schnell=not inputs.flux.guidance,
                step=step,
            ),
            save_state_to=lambda path, step: states.save(
                path,
                network=parts.network,
                optimizer=parts.optimizer,
                scheduler=parts.scheduler,
                average=parts.average,
                progress=self._progress(step),
            ),
            weights_in_use=lambda: optimizer.weights_in_use(parts.optimizer),
            average=parts.average,
            say=self.bar.print,
        )
        self.sampler = Sampler(
            options=options,
            seed=inputs.seed,
            transformer=parts.transformer,
            clip=parts.clip,
            prompts=encoded.prompts,
            device=accelerator.device,
            autocast=accelerator.autocast,
            stop=stop,
            metrics=metrics,
            say=self.bar.print,
        )
        self.events = Events.of(options)
        self.source = BatchSource(
            options=options,
            seed=inputs.seed,
            total_steps=inputs.plan.total_steps,
            dataset=inputs.dataset,
            latents=encoded.latents,
            texts=encoded.texts,
        )

        self.validation = self._prepare_validation(encoded) if inputs.validated else None

    def _prepare_validation(self, encoded: Encoded) -> Validation:
        assert self.inputs.validated is not None
        source = BatchSource(
            options=self.options,
            seed=self.options.validation_seed or 0,
            total_steps=self.plan.total_steps,
            dataset=self.inputs.validated,
            latents=encoded.latents,
            texts=encoded.texts,
        )
        batches = self.inputs.validated.batches_per_epoch
        return Validation(
            source, batches=min(batches, self.options.max_validation_steps or batches), loss_of=self._loss_of
        )

    def train(self) -> None:
        """The loop. Between two steps: progress, saves, samples, what was wished for, and a stop if asked for."""
        if self.options.sample_at_first and self.inputs.first_step == 0:
            self._sample(epoch=0, step=0)
            self.stop.leave_if_requested()
        wanted = positions(
            first_step=self.inputs.first_step,
            last_step=self.plan.total_steps,
            batches_per_epoch=self.plan.batches_per_epoch,
            accumulation=self.options.gradient_accumulation_steps,
        )
        batches = prefetch(self.source.batch, wanted, threads=self.options.max_data_loader_n_workers)
        if self.inputs.first_step < self.plan.total_steps:
            self.metrics.report("training", step=self.inputs.first_step, totalSteps=self.plan.total_steps)
        with self.bar, contextlib.closing(batches):
            micro_losses: list[torch.Tensor] = []
            epoch, began = None, time.monotonic()
            for batch in batches:
                position = batch.position
                if epoch != position.epoch:
                    epoch = position.epoch
                    self.bar.print(f"\nepoch {epoch + 1}/{self.plan.total_epochs}")
                try:
                    micro_losses.append(self._micro_step(batch))
                except Exception as error:
                    self._give_up(position.step, error)
                    raise
                self.micro_steps += 1
                if not position.last_of_step:
                    self._report_micro_step(position.step)
                    continue
                self._optimizer_step(position.step)
                self.reader.put(position.step, torch.stack(micro_losses).mean())
                micro_losses.clear()
                self._time_step(began)
                self._report_steps(every=self._pauses_after(position.step))
                self._save_and_sample(position.step)
                self._do_what_was_wished(position.step)
                if self.stop.requested:
                    self._leave(position.step)
                began = time.monotonic()
        self._finish()

    def _micro_step(self, batch: Batch) -> torch.Tensor:
        """Forward and backward of one batch, whose gradients are added to those before; its loss, on the device."""
        position = batch.position
        debug_hang.here("training", position.step)
        # The rank is in it so that processes do not drop out the same.
        randomness.seed_default_generators(
            "step", self.inputs.seed, position.step, position.batch, self.accelerator.process_index
        )
        loss = self._loss_of(batch)
        self.accelerator.backward(loss)
        return loss.detach()

    def _loss_of(self, batch: Batch) -> torch.Tensor:
        return model.loss_of(
            batch,
            transformer=self.parts.transformer,
            clip=self.parts.clip,
            options=self.options,
            accelerator=self.accelerator,
            dtype=self.dtype,
        )

    def _give_up(self, step: int, error: Exception) -> None:
        """Leaves if a stop is asked for. A scope's SIGTERM also ends the processes of a compiler, and the step that
        waits for them fails. Nothing of it is in the weights yet: the steps before are saved."""
        if self.stop.requested:
            self.bar.print(f"step {step} is given up: {error}")
            self._leave(step - 1)

    def _optimizer_step(self, step: int) -> None:
        if self.options.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.parts.network.parameters(), self.options.max_grad_norm)
        self.parts.optimizer.step()
        self.parts.scheduler.step()
        if self.options.scale_weight_norms:
            self.parts.network.limit_norms(self.options.scale_weight_norms)
        self.parts.optimizer.zero_grad(set_to_none=True)
        if self.parts.average is not None:
            self.parts.average.update(step)

    def _time_step(self, began: float) -> None:
        seconds = time.monotonic() - began
        self.seconds_per_step += (seconds - self.seconds_per_step) * (0.1 if self.seconds_per_step else 1.0)

    def _pauses_after(self, step: int) -> bool:
        """Whether the device is waited for after this step anyhow."""
        due = plan.saves_step(self.options, self.plan, step) or plan.saves_epoch(self.options, self.plan, step)
        due = (
            due
            or plan.validates(self.options, self.plan, step)
            or plan.samples_step(self.options, step)
            or plan.samples_epoch(self.options, self.plan, step)
        )
        return due or self.stop.requested or step == self.plan.total_steps

    def _report_steps(self, *, every: bool) -> None:
        """The steps whose losses have come. Raises TrainerError where they are no numbers any more."""
        for step, loss in self.reader.take(every=every):
            self._report_step(step, loss)
            self.finite.see(step, loss)

    def _report_step(self, step: int, loss: float) -> None:
        self.losses.append(loss)
        average = sum(self.losses) / len(self.losses)
        self.bar.step(average)
        rates = [float(group["lr"]) for group in self.parts.optimizer.param_groups]
        clip_rate = rates[0] if self.options.trains_clip else None
        self.events.step(step, loss=loss, average=average, clip=clip_rate, unet=rates[-1])
        if self.plan.ends_epoch(step):
            self.events.scalars({"loss/epoch_average": average}, step=self.plan.epoch_of(step))
        self.metrics.report(
            "training",
            step=step,
            totalSteps=self.plan.total_steps,
            epoch=self.plan.epoch_of(step),
            totalEpochs=self.plan.total_epochs,
            loss=loss,
            averageLoss=average,
            learningRate=optimizer.learning_rate(self.parts.optimizer, self.options),
            secondsPerStep=round(self.seconds_per_step, 6),
        )

    def _report_micro_step(self, step: int) -> None:
        """`step`: the one that it belongs to, which is not done."""
        self.metrics.report_piece("training", step=step - 1, totalSteps=self.plan.total_steps, work=self.micro_steps)

    def _save_and_sample(self, step: int) -> None:
        epoch = self.plan.epoch_of(step)
        if plan.saves_step(self.options, self.plan, step):
            self.metrics.report("saving", step=step)
            self.output.save(Moment(step=step), step=step, state=self.options.save_state)
        if plan.saves_epoch(self.options, self.plan, step):
            self.metrics.report("saving", step=step)
            self.output.save(Moment(epoch=epoch), step=step, state=self.options.save_state)
        if plan.validates(self.options, self.plan, step):
            self._validate(step)
        if plan.samples_epoch(self.options, self.plan, step):
            self._sample(epoch=epoch, step=step)
        elif plan.samples_step(self.options, step):
            self._sample(epoch=None, step=step)

    def _validate(self, step: int) -> None:
        """Left half-way where a stop is asked for: it changes nothing."""
        assert self.validation is not None

        def between() -> bool:
            self.micro_steps += 1
            self._report_micro_step(step + 1)
            return not self.stop.requested

        self.parts.network.eval()
        with optimizer.weights_in_use(self.parts.optimizer):
            loss = self.validation.loss(between=between)
        self.parts.network.train()
        if loss is None:
            return
        self.bar.print(f"validation loss after step {step}: {loss:.6f}")
        self.metrics.report("training", step=step, totalSteps=self.plan.total_steps, validationLoss=loss)
        self.events.scalars({"loss/validation/step_average": loss}, step=step)
        if self.plan.ends_epoch(step):
            self.events.scalars({"loss/validation/epoch_average": loss}, step=self.plan.epoch_of(step))

    def _sample(self, *, epoch: int | None, step: int) -> None:
        """With the weights that a LoRA of this moment has, and without dropout."""
        self.parts.network.eval()
        with optimizer.weights_in_use(self.parts.optimizer):
            self.sampler.sample_all(epoch=epoch, step=step)
        self.parts.network.train()

    def _do_what_was_wished(self, step: int) -> None:
        """SIGUSR1: a state and a LoRA; SIGUSR2: samples. Not after the last step, which has its own.

        A wish never ends the training: a disk that is full now may not be at the next save.
        """
        if self.stop.requested or step == self.plan.total_steps:
            return
        if self.wishes.take_save():
            self._report_steps(every=True)
            self.metrics.report("saving", step=step)
            try:
                self.output.save_now(step)
            except TrainerError as error:
                self.bar.print(f"warning: {error}; the training goes on")
        if self.wishes.take_sample():
            if self.inputs.prompts:
                self._sample(epoch=None, step=step)
            else:
                self.bar.print("no samples are made: --sample_prompts does not say which")

    def _leave(self, step: int) -> NoReturn:
        """What a stop asks for: the state of this run's steps is saved, the exit status tells the signal."""
        self._report_steps(every=True)
        if step > self.inputs.first_step:
            self.metrics.report("saving", step=step)
            self.output.save_state(Moment(step=step), step=step)
        self.metrics.flush()
        self.bar.print(f"stopped by signal {self.stop.signum} after step {step}")
        raise SystemExit(self.stop.exit_status)

    def _finish(self) -> None:
        """The last state and the final LoRA, which is written last of all. Done is done: no stop is taken here."""
        self.metrics.report("finishing", step=self.plan.total_steps)
        with_state = self.options.save_state or self.options.save_state_on_train_end
        self.output.save(Moment(), step=self.plan.total_steps, state=with_state)
        print("model saved.", flush=True)

    def _progress(self, step: int) -> states.Progress:
        return states.Progress(
            step=step,
            epoch=self.plan.epoch_of(step),
            total_steps=self.plan.total_steps,
            steps_per_epoch=self.plan.steps_per_epoch,
            seed=self.inputs.seed,
            choices=dataclasses.asdict(self.inputs.choices),
        )
