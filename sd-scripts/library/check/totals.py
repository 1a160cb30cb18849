# SPDX-License-Identifier: Apache-2.0
"""Counts what a training will save, sample and validate. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from library.options import plan
from library.options.options import Options
from library.options.plan import Due, Plan
from library.output import names
from library.output.names import Moment


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What is made from the first step of this run to its end. `loras`, `states`: how many are saved, and
    `loras_kept`, `states_kept`: how many of them --save_last_n_* leaves in the end. With --ema_decay there are two
    LoRAs at a time. `samples`: pictures."""

    loras: int
    loras_kept: int
    states: int
    states_kept: int
    samples: int
    validations: int


def count(options: Options, planned: Plan, *, first_step: int, validates: bool, prompts: int) -> Totals:
    """`prompts`: how many samples are made at a time."""
    due = list(plan.dues(options, planned, first_step=first_step, validates=validates))
    saved = [moment for step, one in due for moment in _moments(planned, step, one)]
    rounds = sum(one.sample_step + one.sample_epoch for _, one in due)
    rounds += options.sample_at_first and first_step == 0
    at_a_time = 2 if options.ema_decay is not None else 1
    last_state = options.save_state or options.save_state_on_train_end
    return Totals(
        loras=(len(saved) + 1) * at_a_time,
        loras_kept=(_kept(options, saved, state=False) + 1) * at_a_time,
        states=len(saved) * options.save_state + last_state,
        states_kept=_kept(options, saved, state=True) * options.save_state + last_state,
        samples=rounds * prompts,
        validations=sum(one.validate for _, one in due),
    )


def _moments(planned: Plan, step: int, due: Due) -> Iterator[Moment]:
    if due.save_step:
        yield Moment(step=step)
    if due.save_epoch:
        yield Moment(epoch=planned.epoch_of(step))


def _kept(options: Options, saved: list[Moment], *, state: bool) -> int:
    """How many of these saves are not made outdated by a later one."""
    gone = {names.outdated(options, moment, state=state) for moment in saved}
    return len(set(saved) - gone)
