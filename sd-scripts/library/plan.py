# SPDX-License-Identifier: Apache-2.0
"""How many steps there are, and what is due after each: pure arithmetic on the options and the dataset's size."""

from __future__ import annotations

from dataclasses import dataclass

from library.options import Options


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps are optimizer steps, counted from the very first run on, so they do not depend on resumes."""

    batches_per_epoch: int
    steps_per_epoch: int
    total_steps: int

    @property
    def total_epochs(self) -> int:
        """The last epoch may be cut short by --max_train_steps."""
        return -(-self.total_steps // self.steps_per_epoch)

    def epoch_of(self, step: int) -> int:
        """The epoch (from 1) that step `step` (from 1) belongs to; 1 before the first step."""
        return max(1, -(-step // self.steps_per_epoch))

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch ends with this step. A last epoch that is cut short ends with the last step."""
        return step % self.steps_per_epoch == 0 or step == self.total_steps


def make(options: Options, *, batches_per_epoch: int) -> Plan:
    steps_per_epoch = -(-batches_per_epoch // options.gradient_accumulation_steps)
    epochs = options.max_train_epochs
    return Plan(
        batches_per_epoch=batches_per_epoch,
        steps_per_epoch=steps_per_epoch,
        total_steps=epochs * steps_per_epoch if epochs else options.max_train_steps,
    )


def saves_step(options: Options, plan: Plan, step: int) -> bool:
    """Whether a LoRA is saved by --save_every_n_steps. The last step's is the final one."""
    every = options.save_every_n_steps
    return every is not None and step % every == 0 and step < plan.total_steps


def saves_epoch(options: Options, plan: Plan, step: int) -> bool:
    """Whether a LoRA is saved by --save_every_n_epochs. The last epoch's is the final one."""
    every = options.save_every_n_epochs
    due = every is not None and plan.epoch_of(step) % every == 0
    return due and plan.ends_epoch(step) and step < plan.total_steps


def validates(options: Options, plan: Plan, step: int) -> bool:
    """Whether the validation loss is taken: at the ends of epochs, and by --validate_every_n_steps."""
    if not options.validation_split:
        return False
    steps, epochs = options.validate_every_n_steps, options.validate_every_n_epochs or 1
    by_epoch = plan.ends_epoch(step) and plan.epoch_of(step) % epochs == 0
    return by_epoch or (steps is not None and step % steps == 0)


def samples_step(options: Options, step: int) -> bool:
    """Whether samples are made by --sample_every_n_steps; --sample_every_n_epochs wins over it."""
    every = options.sample_every_n_steps
    return options.sample_every_n_epochs is None and every is not None and step % every == 0


def samples_epoch(options: Options, plan: Plan, step: int) -> bool:
    """Whether samples are made by --sample_every_n_epochs, the last epoch's included."""
    every = options.sample_every_n_epochs
    return every is not None and plan.ends_epoch(step) and plan.epoch_of(step) % every == 0
