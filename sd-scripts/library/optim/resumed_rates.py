# SPDX-License-Identifier: Apache-2.0
"""The learning rates of a resumed run: those of the command line, at the point that the schedule has reached.

A state holds its own rates, in the optimizer's groups and in the schedule. If the command line asks for the same
rates, nothing is changed, so that the run continues bit for bit.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

BASE, NOW = "initial_lr", "lr"


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The rates of a run before its state is loaded. `bases`: the base rate of each group's schedule (None if it has
    none, as when Adafactor finds the rate itself); `firsts`: each group's rate at the first step; `schedule`: the
    initial state of the schedule."""

    bases: tuple[float | None, ...]
    firsts: tuple[float | None, ...]
    schedule: Mapping[str, Any]


def of_run(optimizer: Optimizer, scheduler: LRScheduler) -> Rates:
    return Rates(
        bases=tuple(group.get(BASE) for group in optimizer.param_groups),
        firsts=tuple(group.get(NOW) for group in optimizer.param_groups),
        schedule=copy.deepcopy(scheduler.state_dict()),
    )


def use(rates: Rates, scheduler: LRScheduler) -> str | None:
    """Replaces the state's rates, which have been loaded into optimizer and schedule, with the run's rates.

    Returns a sentence about the change, or None if there is none. For an optimizer that finds its own rate, these
    rates are the factor.
    """
    groups = scheduler.optimizer.param_groups
    pairs = zip(rates.bases, groups, strict=True)
    changed = [(own, group) for own, group in pairs if own is not None and group.get(BASE) not in (None, own)]
    if not changed:
        return None
    own, before = changed[-1][0], changed[-1][1][BASE]
    for base, group in changed:
        group[BASE] = base
    done = scheduler.last_epoch
    if type(scheduler) is LambdaLR:
        scheduler.base_lrs = [group[BASE] for group in groups]
        for group, curve in zip(groups, scheduler.lr_lambdas, strict=True):
            group[NOW] = group[BASE] * curve(done)
    else:
        _walk(rates, scheduler, steps=done)
    return f"the learning rate is {own:g} from here on; the state was saved with {before:g}"


def _walk(rates: Rates, scheduler: LRScheduler, *, steps: int) -> None:
    """Runs the schedule again from its beginning for `steps` steps: it may be of any class, and many compute each
    rate from the one before."""
    scheduler.load_state_dict(dict(rates.schedule))
    for group, first in zip(scheduler.optimizer.param_groups, rates.firsts, strict=True):
        group[NOW] = first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that the optimizer makes no steps
        for _ in range(steps):
            scheduler.step()
