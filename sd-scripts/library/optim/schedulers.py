# SPDX-License-Identifier: Apache-2.0
"""The learning rate's schedule by --lr_scheduler, or any class by --lr_scheduler_type, as sd-scripts reads them.

The curves are those of transformers, which is imported only if the schedule needs it, and diffusers'
piecewise_constant. Steps are optimizer steps of the complete training, so a resumed run continues on the same curve.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from library import garbage
from library.errors import TrainerError
from library.optim import optimizer as optimizers
from library.options.options import Options


def build(optimizer: Optimizer, options: Options, *, total_steps: int) -> LRScheduler:
    """The schedule. Raises TrainerError for a missing class or arguments that the class refuses."""
    arguments = dict(options.lr_scheduler_args or [])
    try:
        if optimizers.is_schedule_free(optimizer):
            return LambdaLR(optimizer, _constant)
        if any(group.get("relative_step") for group in optimizer.param_groups):
            return _of_adafactor(optimizer, options)
        if options.lr_scheduler_type:
            return _class_of(options.lr_scheduler_type)(optimizer, **arguments)
        return _named(optimizer, options, total_steps, arguments)
    except (TypeError, ValueError, AttributeError) as error:
        raise TrainerError(f"--lr_scheduler_args: the schedule rejected its arguments: {error}") from error


def _of_adafactor(optimizer: Optimizer, options: Options) -> LRScheduler:
    """A schedule that only shows the rate that Adafactor finds. Raises TrainerError for --lr_scheduler_type, whose
    class would have nothing to change."""
    if options.lr_scheduler_type:
        raise TrainerError(
            f"--lr_scheduler_type {options.lr_scheduler_type} cannot be used, because Adafactor with relative_step "
            "finds the learning rate itself; leave it out, or add relative_step=False to --optimizer_args"
        )
    from transformers.optimization import AdafactorSchedule

    return AdafactorSchedule(optimizer, options.learning_rate)


def _constant(_step: int) -> float:
    return 1.0


def _named(optimizer: Optimizer, options: Options, total_steps: int, arguments: dict[str, Any]) -> LRScheduler:
    name = options.lr_scheduler
    if name == "constant":
        return LambdaLR(optimizer, _constant)
    if name == "piecewise_constant":
        return LambdaLR(optimizer, piecewise(**arguments))
    with garbage.paused():
        from transformers import optimization

    warmup, decay = (_steps(given, total_steps) for given in (options.lr_warmup_steps, options.lr_decay_steps))
    length = {"num_training_steps": total_steps}
    cycles, least = options.lr_scheduler_num_cycles, options.lr_scheduler_min_lr_ratio
    if name == "cosine_with_min_lr" and least is None and not arguments.keys() & {"min_lr", "min_lr_rate"}:
        raise TrainerError(
            f"--lr_scheduler {name} needs --lr_scheduler_min_lr_ratio, the lowest rate as a share of --learning_rate"
        )
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


def piecewise(*, step_rules: str = "") -> Callable[[int], float]:
    """The factor as a function of the step (from 0), by diffusers' rules: `1:10,0.1:30,0.01` gives 1 for the first 10
    steps, then 0.1 before step 30, and 0.01 from there on.

    Raises TrainerError for malformed rules.
    """
    *rules, last = step_rules.split(",")
    try:
        pairs = [rule.split(":") for rule in rules]
        bounds = sorted((int(step), float(factor)) for factor, step in pairs)
        rest = float(last)
    except ValueError as error:
        raise TrainerError(
            f"--lr_scheduler_args: step_rules={step_rules!r} is not valid for piecewise_constant; give each factor "
            "with the step up to which it holds, and then the last factor, such as \"step_rules='1:10,0.1:30,0.01'\""
        ) from error
    return lambda step: next((factor for bound, factor in bounds if step < bound), rest)


def _steps(given: float, total_steps: int) -> int:
    """A number of steps. An int is that number, a float is a share of `total_steps`."""
    return given if isinstance(given, int) else int(given * total_steps)


def _class_of(path: str) -> Callable[..., LRScheduler]:
    module, _, name = (path if "." in path else f"torch.optim.lr_scheduler.{path}").rpartition(".")
    try:
        found: Callable[..., LRScheduler] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TrainerError(f"--lr_scheduler_type {path}: there is no class {module}.{name}") from error
    return found
