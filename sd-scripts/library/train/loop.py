# SPDX-License-Identifier: Apache-2.0
"""The loop over optimizer steps, and the work between two steps.

After each step the run is in a state that can be saved exactly. Stops, saves and samples happen only there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from typing import NoReturn

import torch

from library.cache.caching_phase import Encoded
from library.data.dataset import Dataset
from library.errors import TrainerError
from library.flow.batches import Batch, BatchSource, Step, prefetch, steps
from library.flow.validation import Validation
from library.metrics import Metrics
from library.optim import optimizer
from library.options import plan
from library.options.options import Options
from library.output import metadata, states
from library.output.names import Moment
from library.output.output import Output
from library.output.progress import Progress
from library.report import not_finite, speed
from library.report.not_finite import NotFinite
from library.report.report import Report
from library.report.speed import PictureCost
from library.sample.sampling import Sampler, TrainedModels
from library.signals import StopRequest, Wishes
from library.train.parts import Parts
from library.train.preflight import Inputs
from library.train.processes import Processes
from library.train.stepper import Stepper


class Loop:
    """The steps of one run, from the first that is not done yet to the last."""

    def __init__(
        self,
        options: Options,
        inputs: Inputs,
        encoded: Encoded,
        parts: Parts,
        stepper: Stepper,
        *,
        processes: Processes,
        stop: StopRequest,
        wishes: Wishes,
        metrics: Metrics,
    ) -> None:
        self._options, self._inputs, self._plan = options, inputs, inputs.plan
        self._parts, self._stepper, self._processes = parts, stepper, processes
        self._stop, self._wishes, self._metrics = stop, wishes, metrics
        accelerator = processes.accelerator
        self._on_gpu = accelerator.device.type == "cuda"
        self._report = self._make_report()
        self._output = self._make_output()
        self._sampler = Sampler(
            options=options,
            plan=inputs.plan,
            seed=inputs.seed,
            models=TrainedModels(
                base=inputs.models,
                transformer=parts.transformer,
                encoder=parts.encoder,
                device=accelerator.device,
                autocast=accelerator.autocast,
            ),
            prompts=encoded.prompts,
            stop=stop,
            metrics=metrics,
            report=self._report,
        )
        self._source = self._batches_of(inputs.dataset, encoded, seed=inputs.seed)
        self._validation = self._make_validation(inputs.validated, encoded) if inputs.validated else None

    def _make_report(self) -> Report:
        ranks = {name: part.down.shape[0] for name, part in self._parts.network.parts()}
        sixteen_bits = self._inputs.choices.mixed_precision == "bf16"
        return Report(
            self._options,
            self._plan,
            first_step=self._inputs.first_step,
            optimizer=self._parts.optimizer,
            group_names=optimizer.group_names(self._parts.network, self._options),
            metrics=self._metrics,
            cost=PictureCost(
                lambda tokens: self._inputs.models.flops(ranks, image_tokens=tokens),
                latents_per_token=self._inputs.models.transformer_size.latents_per_token,
            ),
            peak=speed.peak_of(torch.cuda.get_device_name()) if self._on_gpu and sixteen_bits else None,
            on_gpu=self._on_gpu,
        )

    def _make_output(self) -> Output:
        inputs, parts = self._inputs, self._parts
        session = metadata.Session.new()
        return Output(
            options=self._options,
            network=parts.network,
            metadata_at=lambda step: metadata.build(
                options=self._options,
                dataset=inputs.dataset,
                validated=inputs.validated,
                plan=inputs.plan,
                seed=inputs.seed,
                session=session,
                optimizer=f"{type(parts.optimizer).__module__}.{type(parts.optimizer).__name__}",
                base=inputs.models,
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
            say=self._report.say,
        )

    def _progress(self, step: int) -> Progress:
        return Progress(
            step=step,
            epoch=self._plan.epoch_of(step),
            total_steps=self._plan.total_steps,
            steps_per_epoch=self._plan.steps_per_epoch,
            seed=self._inputs.seed,
            choices=dataclasses.asdict(self._stepper.choices),
            processes=self._plan.processes,
        )

    def _batches_of(self, dataset: Dataset, encoded: Encoded, *, seed: int) -> BatchSource:
        return BatchSource(
            options=self._options,
            seed=seed,
            total_steps=self._plan.total_steps,
            dataset=dataset,
            latents=encoded.latents,
            texts=encoded.texts,
            latents_per_token=self._inputs.models.transformer_size.latents_per_token,
            pin=self._on_gpu,
        )

    def _make_validation(self, validated: Dataset, encoded: Encoded) -> Validation:
        source = self._batches_of(validated, encoded, seed=self._options.validation_seed or 0)
        batches = validated.batches_per_epoch
        return Validation(
            source,
            batches=min(batches, self._options.max_validation_steps or batches),
            loss_of=self._stepper.loss_of,
        )

    def train(self) -> None:
        """Runs all steps. If losses stop being finite, raises NotFinite, or an error that names the cause if none was
        finite."""
        try:
            self._train()
        except NotFinite as error:
            if self._report.any_finite:
                raise
            raise not_finite.explained(self._options, self._inputs.models, say=self._report.say) from error

    def _train(self) -> None:
        """Runs the steps, and between them reports, saves, samples, and stops if a stop is requested."""
        if self._options.sample_at_first and self._inputs.first_step == 0:
            if self._processes.first:
                self._sample(epoch=0, step=0)
            if self._processes.agree_to_stop(self._stop):
                self._stop.leave_if_requested()
        wanted = itertools.chain.from_iterable(step.positions for step in self._steps())
        batches = prefetch(self._source.batch, wanted, threads=max(1, self._options.max_data_loader_n_workers))
        if self._inputs.first_step < self._plan.total_steps:
            self._metrics.report("training", step=self._inputs.first_step, totalSteps=self._plan.total_steps)
        with self._report.bar, contextlib.closing(batches):
            epoch = None
            self._report.begin_step()
            for step in self._steps():
                if epoch != step.epoch:
                    epoch = step.epoch
                    self._report.say(f"\nepoch {epoch + 1}/{self._plan.total_epochs}")
                loss = self._gradients(step, batches)
                norms = self._stepper.finish(step.number)
                self._report.end_step(step.number, loss, norms)
                self._between_steps(step.number)
                self._report.begin_step()
        if self._processes.first:
            self._finish()

    def _steps(self) -> Iterator[Step]:
        return steps(
            first_step=self._inputs.first_step,
            last_step=self._plan.total_steps,
            batches_per_epoch=self._plan.batches_per_epoch,
            accumulation=self._options.gradient_accumulation_steps,
            processes=self._processes.count,
            rank=self._processes.rank,
        )

    def _gradients(self, step: Step, batches: Iterator[Batch]) -> torch.Tensor:
        """Computes the step's gradients from this process' next batches, and adds up those of all processes.

        Returns the step's loss, on the device.
        """
        losses: list[torch.Tensor] = []
        try:
            for batch in itertools.islice(batches, len(step.positions)):
                if losses:
                    self._report.micro_step(steps_done=step.number - 1)
                self._report.batch(batch)
                losses.append(self._stepper.micro_step(batch, batches=step.batches))
            return self._stepper.add_up(losses)
        except Exception as error:
            self._give_up(step.number, error)
            raise

    def _give_up(self, step: int, error: Exception) -> None:
        """Saves and exits if a stop is requested, although the step failed.

        A SIGTERM to the scope also ends a compiler's processes, and then the step that waits for them fails. It has
        not changed the weights yet, so the steps before it can be saved.
        """
        if self._stop.requested:
            self._report.say(f"step {step} was abandoned: {error}")
            self._leave(step - 1, agreed=False)

    def _between_steps(self, step: int) -> None:
        """The first process saves, samples and validates; then all processes agree whether to stop. The others wait
        for the first one there."""
        if self._processes.first:
            self._do_what_is_due(step)
        else:
            self._report.steps(every=False)
        if self._processes.agree_to_stop(self._stop):
            self._leave(step, agreed=True)

    def _do_what_is_due(self, step: int) -> None:
        due = plan.due_after(self._options, self._plan, step, validates=self._validation is not None)
        self._report.steps(every=due.anything or self._stop.requested or step == self._plan.total_steps)
        if due.save_step:
            self._save(Moment(step=step), step=step)
        if due.save_epoch:
            self._save(Moment(epoch=self._plan.epoch_of(step)), step=step)
        if due.validate:
            self._validate(step)
        if due.sample_epoch:
            self._sample(epoch=self._plan.epoch_of(step), step=step)
        if due.sample_step:
            self._sample(epoch=None, step=step)
        self._do_what_was_wished(step)

    def _save(self, moment: Moment, *, step: int) -> None:
        self._metrics.report("saving", step=step)
        self._output.save(moment, step=step, state=self._options.save_state)

    def _validate(self, step: int) -> None:
        """Validates, and abandons that if a stop is requested, since a validation changes nothing."""
        assert self._validation is not None

        def between() -> bool:
            self._report.micro_step(steps_done=step)
            return not self._stop.requested

        with self._as_saved():
            loss = self._validation.loss(between=between)
        if loss is not None:
            self._report.validation(step, loss)

    def _sample(self, *, epoch: int | None, step: int) -> None:
        with self._as_saved():
            self._sampler.sample_all(epoch=epoch, step=step)

    @contextlib.contextmanager
    def _as_saved(self) -> Iterator[None]:
        """A context in which the weights are those that a LoRA saved now would have, and dropout is off."""
        self._parts.network.eval()
        try:
            with optimizer.weights_in_use(self._parts.optimizer):
                yield
        finally:
            self._parts.network.train()

    def _do_what_was_wished(self, step: int) -> None:
        """Saves a state and a LoRA after SIGUSR1, and samples after SIGUSR2. Not after the last step, when the final
        files are written anyway.

        A save that fails here does not end the training: a disk that is full now may have space at the next save.
        """
        if self._stop.requested or step == self._plan.total_steps:
            return
        if self._wishes.take_save():
            self._report.steps(every=True)
            self._metrics.report("saving", step=step)
            try:
                self._output.save_now(step)
            except TrainerError as error:
                self._report.warn(f"{error}; the training continues")
        if self._wishes.take_sample():
            if self._inputs.prompts:
                self._sample(epoch=None, step=step)
            else:
                self._report.say("cannot make samples: --sample_prompts is not set")

    def _leave(self, step: int, *, agreed: bool) -> NoReturn:
        """Saves the state if this run has done a step, and exits with a status that names the signal.

        `agreed`: all processes agreed to stop. They exit together, since a launcher kills the others when one exits.
        """
        if self._processes.first:
            self._put_away(step)
        if agreed:
            self._processes.leave()
        raise SystemExit(self._stop.exit_status)

    def _put_away(self, step: int) -> None:
        self._report.steps(every=True)
        if step > self._inputs.first_step:
            self._metrics.report("saving", step=step)
            self._output.save_state(Moment(step=step), step=step)
        self._metrics.flush()
        self._report.say(f"stopped by signal {self._stop.signum} after step {step}")

    def _finish(self) -> None:
        """Writes the last state, and then the final LoRA. The training is complete, so a stop has no effect here."""
        self._metrics.report("finishing", step=self._plan.total_steps)
        with_state = self._options.save_state or self._options.save_state_on_train_end
        self._output.save(Moment(), step=self._plan.total_steps, state=with_state)
        print("training finished", flush=True)
