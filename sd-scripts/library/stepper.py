# SPDX-License-Identifier: Apache-2.0
"""One optimizer step: all that touches the device between two moments at which the run could be saved."""

from __future__ import annotations

import dataclasses
import sys

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]

from library import compilation, debug_hang, model, randomness
from library.batches import Batch
from library.choices import Choices
from library.compilation import Compilation
from library.errors import TrainerError
from library.options import Options
from library.parts import Parts
from library.processes import Processes
from library.signals import StopRequest

MOST_OF_A_REASON = 300


class Stepper:
    """Micro-steps add their gradients up, `finish` turns them into new weights. Nothing here reads a number back."""

    def __init__(
        self,
        options: Options,
        parts: Parts,
        *,
        seed: int,
        accelerator: Accelerator,
        processes: Processes,
        dtype: torch.dtype,
        choices: Choices,
        resumed: bool,
        stop: StopRequest,
    ) -> None:
        """`resumed`: the choices are those of a state, and nothing else will do."""
        self._options, self._parts, self._seed = options, parts, seed
        self._accelerator, self._processes, self._dtype = accelerator, processes, dtype
        self._resumed, self._stop = resumed, stop
        self.choices = choices
        """How it is computed, in truth: what cannot be compiled is not."""
        self._all_compile = choices.compile != compilation.NO
        if self._all_compile:
            compilation.compile_blocks(
                parts.transformer,
                Compilation.read(choices.compile),
                most_graphs=options.compile_cache_size_limit,
                deterministic=choices.deterministic,
            )

    def micro_step(self, batch: Batch, *, batches: int) -> torch.Tensor:
        """Forward and backward of one of a step's `batches`, whose gradients are added to those before; its share of
        the step's loss, on the device."""
        debug_hang.here("training", batch.position.step)
        try:
            loss = self._forward(batch) / batches
        except Exception as error:  # noqa: BLE001 (what a compiler raises has no class in common)
            self._go_on_without_compilation(error)
            loss = self._forward(batch) / batches
        # Not accelerator.backward: that divides by --gradient_accumulation_steps, and an epoch's last step has fewer.
        loss.backward()
        return loss.detach()

    def _forward(self, batch: Batch) -> torch.Tensor:
        """The loss, with what is drawn on the way drawn by the batch's place."""
        position = batch.position
        # The rank is in it so that processes do not drop out the same.
        randomness.seed_default_generators(
            "step", self._seed, position.step, position.batch, self._accelerator.process_index
        )
        if self.choices.compile != compilation.NO:
            compilation.begin_micro_step(Compilation.read(self.choices.compile))
        return self.loss_of(batch)

    def _go_on_without_compilation(self, error: Exception) -> None:
        """To be called where a forward pass has failed, which is where blocks are compiled: by compilers, caches and
        drivers of this machine, any of which may be broken. Where the fault lies elsewhere it shows again without.

        Raises `error` where that is no way, and TrainerError where a state asks for compiled blocks.
        """
        compiled = self.choices.compile
        if compiled == compilation.NO or self._stop.requested or isinstance(error, torch.OutOfMemoryError):
            raise error
        reason = " ".join(str(error).split())[:MOST_OF_A_REASON] or type(error).__name__
        if self._resumed:
            raise TrainerError(
                f"--resume: the state was made with compile = {compiled}, which fails here ({reason}); put that "
                "right, or add --replan --no_compile: the training goes on then, but does not end as it would have "
                "without the interruption"
            ) from error
        print(f"warning: the blocks are not compiled, since that fails here: {reason}", file=sys.stderr)
        self._use_plain_blocks()

    def _use_plain_blocks(self) -> None:
        compilation.use_plain_blocks(self._parts.transformer)
        self.choices = dataclasses.replace(self.choices, compile=compilation.NO)

    def _agree_on_compilation(self) -> None:
        """From the next step on all processes do without where one has to: a state says of all how they compute."""
        if not self._all_compile:
            return
        does_without = self.choices.compile == compilation.NO
        if self._processes.of_any(own=does_without):
            self._all_compile = False
            if not does_without:
                print("warning: the blocks are not compiled, since that fails in another process", file=sys.stderr)
                self._use_plain_blocks()

    def add_up(self, losses: list[torch.Tensor]) -> torch.Tensor:
        """The step's loss, on the device, from the shares of this process' micro-steps and of the others'. Their
        gradients are added up with it."""
        self._agree_on_compilation()
        own = torch.stack(losses).sum() if losses else torch.zeros((), device=self._accelerator.device)
        return self._processes.add_up(self._parts.network.parameters(), own)

    def loss_of(self, batch: Batch) -> torch.Tensor:
        """The loss of one batch, a scalar on the device."""
        return model.loss_of(
            batch,
            transformer=self._parts.transformer,
            clip=self._parts.clip,
            options=self._options,
            accelerator=self._accelerator,
            dtype=self._dtype,
        )

    def finish(self, step: int) -> None:
        """The optimizer's step number `step`, with the gradients of its micro-steps."""
        if self._options.max_grad_norm:
            self._accelerator.clip_grad_norm_(self._parts.network.parameters(), self._options.max_grad_norm)
        self._parts.optimizer.step()
        self._parts.scheduler.step()
        if self._options.scale_weight_norms:
            self._parts.network.limit_norms(self._options.scale_weight_norms)
        self._parts.optimizer.zero_grad(set_to_none=True)
        if self._parts.average is not None:
            self._parts.average.update(step)
