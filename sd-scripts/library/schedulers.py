# SPDX-License-Identifier: Apache-2.0
"""The schedule of the learning rate by --lr_scheduler, or any class by --lr_scheduler_type, as sd-scripts reads them.

The curves are those of transformers (piecewise_constant: diffusers), imported only for those that need them. Steps
are optimizer steps of the whole training, so that a resumed run goes on along the same curve.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from library import optimizer as optimizers
from library.errors import TrainerError
from library.options import Options


def build(optimizer: Optimizer, options: Options, *, total_steps: int) -> LRScheduler:
    """The schedule. Raises TrainerError for a class that is not there or arguments that it refuses."""
    arguments = dict(options.lr_scheduler_args or [])
    try:
        if optimizers.is_schedule_free(optimizer):
            return LambdaLR(optimizer, _constant)
        if options.lr_scheduler_type:
            return _class_of(options.lr_scheduler_type)(optimizer, **arguments)
        if any(group.get("relative_step") for group in optimizer.param_groups):
            from transformers.optimization import AdafactorSchedule

            return AdafactorSchedule(optimizer, options.learning_rate)
        return _named(optimizer, options, total_steps, arguments)
    except (TypeError, ValueError, AttributeError) as error:
        raise TrainerError(f"--lr_scheduler_args: the schedule refuses its arguments: {error}") from error


def _constant(_step: int) -> float:
    return 1.0


def _named(optimizer: Optimizer, options: Options, total_steps: int, arguments: dict[str, Any]) -> LRScheduler:
    name = options.lr_scheduler
    if name == "constant":
        return LambdaLR(optimizer, _constant)
    if name == "piecewise_constant":
        from diffusers.optimization import get_piecewise_constant_schedule

        return get_piecewise_constant_schedule(optimizer, **arguments)
    from transformers import optimization

    warmup, decay = (_steps(given, total_steps) for given in (options.lr_warmup_steps, options.lr_decay_steps))
    length = {"num_training_steps": total_steps}
    cycles, least = options.lr_scheduler_num_cycles, options.lr_scheduler_min_lr_ratio
    if name == "cosine_with_min_lr" and least is None and not arguments.keys() & {"min_lr", "min_lr_rate"}:
        raise TrainerError(f"--lr_scheduler {name} needs --lr_scheduler_min_lr_ratio, the least rate as a share")
    curves: dict[str, tuple[Callable[..., LRScheduler], dict[str, Any]]] = {
        "constant_with_warmup": (optimization.get_constant_schedule_with_warmup, {}),
        "linear": (optimization.get_linear_schedule_with_warmup, length),
        "cosine": (optimization.get_cosine_schedule_with_warmup, length),
        "cosine_with_restarts": (
            optimization.get_cosine_with_hard_restarts_schedule_with_warmup,
            {**length, "num_cycles": cycles},
        ),
        "polynomial": (
            optimization.get_polynomial_decay_schedule_with_warmup,
            {**length, "power": options.lr_scheduler_power},
        ),
        "inverse_sqrt": (optimization.get_inverse_sqrt_schedule, {"timescale": options.lr_scheduler_timescale}),
        "cosine_with_min_lr": (
            optimization.get_cosine_with_min_lr_schedule_with_warmup,
            {**length, "num_cycles": cycles / 2, "min_lr_rate": least},
        ),
        "warmup_stable_decay": (
            optimization.get_wsd_schedule,
            {
                "num_stable_steps": total_steps - warmup - decay,
                "num_decay_steps": decay,
                "num_cycles": cycles / 2,
                "min_lr_ratio": least or 0.0,
            },
        ),
    }
    curve, settings = curves[name]
    return curve(optimizer, num_warmup_steps=warmup, **{**settings, **arguments})


def _steps(given: float, total_steps: int) -> int:
    """A number of steps, or below 1 a share of all."""
    return given if isinstance(given, int) else int(given * total_steps)


def _class_of(path: str) -> Callable[..., LRScheduler]:
    module, _, name = (path if "." in path else f"torch.optim.lr_scheduler.{path}").rpartition(".")
    try:
        found: Callable[..., LRScheduler] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TrainerError(f"--lr_scheduler_type {path}: there is no class {module}.{name}") from error
    return found
