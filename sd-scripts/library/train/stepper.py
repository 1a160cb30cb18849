# SPDX-License-Identifier: Apache-2.0
"""One optimizer step: everything that is computed on the device between two moments at which the run can be saved."""

from __future__ import annotations

import dataclasses

import torch

from library import debug_hang, randomness
from library.compute import compilation, compile_choice
from library.compute.compile_choice import Compilation
from library.errors import TrainerError
from library.findings import warn
from library.flow import batch_loss
from library.flow.batches import Batch
from library.memory.choices import Choices
from library.options.options import Options
from library.report import tensorboard
from library.signals import StopRequest
from library.train.parts import Parts
from library.train.processes import Processes

MOST_OF_A_REASON = 300


class Stepper:
    """Computes steps: `micro_step` accumulates gradients, `add_up` sums them over the processes, and `finish` updates
    the weights. Nothing here reads a number back from the device."""

    def __init__(
        self,
        options: Options,
        parts: Parts,
        *,
        seed: int,
        processes: Processes,
        dtype: torch.dtype,
        choices: Choices,
        resumed: bool,
        stop: StopRequest,
    ) -> None:
        """`resumed`: whether the choices come from a state, and so must not change."""
        self._options, self._parts, self._seed = options, parts, seed
        self._accelerator, self._processes, self._dtype = processes.accelerator, processes, dtype
        self._resumed, self._stop = resumed, stop
        self.choices = choices
        """How the steps are really computed: `compile` becomes "no" if compiling fails."""
        self._all_compile = choices.compile != compile_choice.NO
        if self._all_compile:
            compilation.compile_blocks(
                parts.transformer,
                Compilation.read(choices.compile),
                most_graphs=options.compile_cache_size_limit,
                deterministic=choices.deterministic,
            )

    def micro_step(self, batch: Batch, *, batches: int) -> torch.Tensor:
        """Runs forward and backward for one of a step's `batches`, and adds its gradients to the earlier ones.
        Returns its share of the step's loss, a scalar on the device."""
        debug_hang.here("training", batch.position.step)
        try:
            loss = self._forward(batch) / batches
        except Exception as error:  # noqa: BLE001 (the errors of compilers have no common class)
            self._go_on_without_compilation(error)
            loss = self._forward(batch) / batches
        # Not accelerator.backward, which divides by --gradient_accumulation_steps: an epoch's last step may have
        # fewer batches.
        loss.backward()
        return loss.detach()

    def _forward(self, batch: Batch) -> torch.Tensor:
        """The loss. Dropout is drawn from generators that are seeded with the batch's position."""
        position = batch.position
        # The rank is part of the seed, so that the processes drop different numbers.
        randomness.seed_default_generators(
            "step", self._seed, position.step, position.batch, self._accelerator.process_index
        )
        if self.choices.compile != compile_choice.NO:
            compilation.begin_micro_step(Compilation.read(self.choices.compile))
        return self.loss_of(batch)

    def _go_on_without_compilation(self, error: Exception) -> None:
        """Switches to uncompiled blocks after a forward pass has failed with `error`. Blocks are compiled in the
        forward pass, by this machine's compilers, caches and drivers, any of which may be broken. An error with
        another cause occurs again without compilation.

        Raises `error` if it is not one of compilation, and TrainerError if a state requires compiled blocks.
        """
        compiled = self.choices.compile
        if compiled == compile_choice.NO or self._stop.requested or isinstance(error, torch.OutOfMemoryError):
            raise error
        reason = " ".join(str(error).split())[:MOST_OF_A_REASON] or type(error).__name__
        if self._resumed:
            raise TrainerError(
                f"--resume: the state was made with compile = {compiled}, which fails here ({reason}); fix that, or "
                "add --replan --no_compile: the training then continues, but its result differs from that of an "
                "uninterrupted run"
            ) from error
        warn(f"the blocks are not compiled, because compiling failed: {reason}")
        self._use_plain_blocks()

    def _use_plain_blocks(self) -> None:
        compilation.use_plain_blocks(self._parts.transformer)
        self.choices = dataclasses.replace(self.choices, compile=compile_choice.NO)

    def _agree_on_compilation(self) -> None:
        """If compiling has failed in one process, all go on without it from the next step on, since a state records
        one choice for all processes."""
        if not self._all_compile:
            return
        does_without = self.choices.compile == compile_choice.NO
        if self._processes.of_any(own=does_without):
            self._all_compile = False
            if not does_without:
                warn("the blocks are not compiled, because compiling failed in another process")
                self._use_plain_blocks()

    def add_up(self, losses: list[torch.Tensor]) -> torch.Tensor:
        """Adds up gradients and losses over all processes. Returns the step's loss, a scalar on the device. `losses`:
        the shares of this process's micro-steps."""
        self._agree_on_compilation()
        own = torch.stack(losses).sum() if losses else torch.zeros((), device=self._accelerator.device)
        return self._processes.add_up(self._parts.network.parameters(), own)

    def loss_of(self, batch: Batch) -> torch.Tensor:
        """The loss of one batch, a scalar on the device."""
        return batch_loss.loss_of(
            batch,
            transformer=self._parts.transformer,
            trained=self._parts.encoder,
            options=self._options,
            accelerator=self._accelerator,
            dtype=self._dtype,
        )

    def finish(self, step: int) -> dict[str, torch.Tensor]:
        """Makes optimizer step number `step` with the accumulated gradients. Returns the norms for TensorBoard by
        tag, as scalars on the device (empty without --logging_dir)."""
        network, maximum = self._parts.network, self._options.scale_weight_norms
        logs = self._options.logging_dir is not None
        if self._options.max_grad_norm:
            self._accelerator.clip_grad_norm_(network.parameters(), self._options.max_grad_norm)
        gradient = network.gradient_norm() if logs and not maximum else None
        self._parts.optimizer.step()
        self._parts.scheduler.step()
        norms = network.limit_norms(maximum) if maximum else None
        self._parts.optimizer.zero_grad(set_to_none=True)
        if self._parts.average is not None:
            self._parts.average.update(step)
        return tensorboard.norm_tags(norms, maximum=maximum, gradient=gradient) if logs else {}
