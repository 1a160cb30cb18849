# SPDX-License-Identifier: Apache-2.0
"""How many steps a training has, and what is due after each step: pure arithmetic on options and dataset size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from library.options.options import Options


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The numbers of batches, steps and epochs. Steps are optimizer steps, counted from the start of the training, so
    they do not depend on resumes."""

    batches_per_epoch: int
    steps_per_epoch: int
    total_steps: int
    processes: int = 1

    @property
    def batches_per_process(self) -> int:
        """How many batches of an epoch a process has; the last processes may have one less."""
        return -(-self.batches_per_epoch // self.processes)

    @property
    def total_epochs(self) -> int:
        """The number of epochs; --max_train_steps may cut the last one short."""
        return -(-self.total_steps // self.steps_per_epoch)

    def epoch_of(self, step: int) -> int:
        """The epoch (from 1) of step `step` (from 1); 1 for step 0, before the first one."""
        return max(1, -(-step // self.steps_per_epoch))

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch ends with this step. A last epoch that is cut short ends with the last step of all."""
        return step % self.steps_per_epoch == 0 or step == self.total_steps


def make(options: Options, *, batches_per_epoch: int, processes: int = 1) -> Plan:
    """The plan of a training. A step takes --gradient_accumulation_steps batches from each process, as in
    sd-scripts."""
    steps_per_epoch = -(-batches_per_epoch // (options.gradient_accumulation_steps * processes))
    epochs = options.max_train_epochs
    return Plan(
        batches_per_epoch=batches_per_epoch,
        steps_per_epoch=steps_per_epoch,
        total_steps=epochs * steps_per_epoch if epochs else options.max_train_steps,
        processes=processes,
    )


@dataclass(frozen=True, kw_only=True)
class Due:
    """What is due after a step. The final LoRA, after the last step, does not count as due."""

    save_step: bool
    save_epoch: bool
    validate: bool
    sample_step: bool
    sample_epoch: bool

    @property
    def anything(self) -> bool:
        return self.save_step or self.save_epoch or self.validate or self.sample_step or self.sample_epoch


def due_after(options: Options, plan: Plan, step: int, *, validates: bool = False) -> Due:
    """What the `--save_every_n_*`, `--validate_every_n_*` and `--sample_every_n_*` flags make due after `step`.

    --sample_every_n_epochs overrides --sample_every_n_steps, and applies to the last epoch too. Without
    --validate_every_n_epochs there is a validation after each epoch. `validates`: there are pictures to validate.
    """
    epoch = plan.epoch_of(step) if plan.ends_epoch(step) else None
    last = step == plan.total_steps
    by_epoch = epoch is not None and epoch % (options.validate_every_n_epochs or 1) == 0
    return Due(
        save_step=not last and _is_multiple(step, options.save_every_n_steps),
        save_epoch=not last and _is_multiple(epoch, options.save_every_n_epochs),
        validate=validates and (by_epoch or _is_multiple(step, options.validate_every_n_steps)),
        sample_step=options.sample_every_n_epochs is None and _is_multiple(step, options.sample_every_n_steps),
        sample_epoch=_is_multiple(epoch, options.sample_every_n_epochs),
    )


def dues(options: Options, plan: Plan, *, first_step: int, validates: bool) -> Iterator[tuple[int, Due]]:
    """(step, what is due after it) for each step after `first_step` after which something is due."""
    found: set[int] = set()
    for number in _rhythms(options, plan, validates=validates):
        found.update(range(first_step - first_step % number + number, plan.total_steps + 1, number))
    for step in sorted(found | {plan.total_steps}):
        due = due_after(options, plan, step, validates=validates)
        if due.anything and step > first_step:
            yield step, due


def _rhythms(options: Options, plan: Plan, *, validates: bool) -> list[int]:
    """Numbers of steps: something can only be due after a multiple of one of them, or after the last step."""
    steps = [options.save_every_n_steps, options.validate_every_n_steps, options.sample_every_n_steps]
    epochs = [options.save_every_n_epochs, options.sample_every_n_epochs]
    epochs += [options.validate_every_n_epochs or 1] if validates else []
    return [*filter(None, steps), *(plan.steps_per_epoch * number for number in epochs if number)]


def _is_multiple(number: int | None, every: int | None) -> bool:
    return number is not None and every is not None and number % every == 0
