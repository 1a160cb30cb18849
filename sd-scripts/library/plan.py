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
    processes: int = 1

    @property
    def batches_per_process(self) -> int:
        """Of an epoch; the last processes may have one less."""
        return -(-self.batches_per_epoch // self.processes)

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


def make(options: Options, *, batches_per_epoch: int, processes: int = 1) -> Plan:
    """A step takes --gradient_accumulation_steps batches of each process, as in sd-scripts."""
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
    """What is to be done after a step. The LoRA after the last step is the final one, which is not due here."""

    save_step: bool
    save_epoch: bool
    validate: bool
    sample_step: bool
    sample_epoch: bool

    @property
    def anything(self) -> bool:
        return self.save_step or self.save_epoch or self.validate or self.sample_step or self.sample_epoch


def due_after(options: Options, plan: Plan, step: int, *, validates: bool = False) -> Due:
    """By the `--save_every_n_*`, `--validate_every_n_*` and `--sample_every_n_*` flags.

    Samples by epochs win over those by steps, and are made after the last epoch too. Validation is at the ends of
    epochs anyhow. `validates`: there are pictures to validate.
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


def _is_multiple(number: int | None, every: int | None) -> bool:
    return number is not None and every is not None and number % every == 0
