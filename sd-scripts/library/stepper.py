# SPDX-License-Identifier: Apache-2.0
"""One optimizer step: all that touches the device between two moments at which the run could be saved."""

from __future__ import annotations

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]

from library import debug_hang, model, randomness
from library.batches import Batch
from library.options import Options
from library.parts import Parts
from library.processes import Processes


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
    ) -> None:
        self._options, self._parts, self._seed = options, parts, seed
        self._accelerator, self._processes, self._dtype = accelerator, processes, dtype

    def micro_step(self, batch: Batch, *, batches: int) -> torch.Tensor:
        """Forward and backward of one of a step's `batches`, whose gradients are added to those before; its share of
        the step's loss, on the device."""
        position = batch.position
        debug_hang.here("training", position.step)
        # The rank is in it so that processes do not drop out the same.
        randomness.seed_default_generators(
            "step", self._seed, position.step, position.batch, self._accelerator.process_index
        )
        # Not accelerator.backward: that divides by --gradient_accumulation_steps, and an epoch's last step has fewer.
        loss = self.loss_of(batch) / batches
        loss.backward()
        return loss.detach()

    def add_up(self, losses: list[torch.Tensor]) -> torch.Tensor:
        """The step's loss, on the device, from the shares of this process' micro-steps and of the others'. Their
        gradients are added up with it."""
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
