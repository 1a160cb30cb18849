# SPDX-License-Identifier: Apache-2.0
"""The optimizer and its schedule, tried on four numbers before anything is loaded or cached.

Both may be any class with any arguments, and what is wrong with one shows when it is made or when it makes a step. On
a real dataset that is hours later.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from library import optimizer as optimizers
from library import schedulers
from library.errors import TrainerError
from library.lora import CLIP_PREFIX, TRANSFORMER_PREFIX
from library.options import Options

# Of a schedule: a second or two.
MOST_STEPS = 100_000


def rehearse(options: Options, *, total_steps: int) -> None:
    """Raises TrainerError for an optimizer or a schedule that cannot be made, or that fails in its first step.

    A schedule of any class is taken along the training's steps, since some of them have an end of their own. The four
    numbers are in host memory, so for a training on a GPU an optimizer that may need one makes no step here.
    """
    on_gpu = torch.cuda.is_available()
    parameters = {rate: nn.Parameter(torch.ones(2, 2)) for rate in _rates(options)}
    groups = [{"params": [parameter], "lr": rate} for rate, parameter in parameters.items()]
    optimizer = optimizers.of_groups(groups, options, on_gpu=on_gpu, warn=lambda _sentence: None)
    scheduler = schedulers.build(optimizer, options, total_steps=total_steps)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    if not (on_gpu and optimizers.may_need_gpu(options.optimizer_type, on_gpu=True)):
        _step(optimizer, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch misses the steps of an optimizer that was left out
        _walk(scheduler, options, steps=min(total_steps, MOST_STEPS) if options.lr_scheduler_type else 1)


def _rates(options: Options) -> list[float]:
    """Those of the transformer, of CLIP-L where it is trained, and of LoRA+: some optimizers take only one.

    Raises TrainerError where nothing would be trained. What patterns say is left to the network's names.
    """
    sides = [(TRANSFORMER_PREFIX, options.unet_lr), *([(CLIP_PREFIX, options.clip_lr)] * options.trains_clip)]
    rates = []
    for prefix, own in sides:
        rate = options.learning_rate if own is None else own
        rates += [rate, rate * (options.network.plus_ratio_of(prefix) or 1.0)]
    if not any(rates) and not options.network.pattern_rates:
        raise optimizers.nothing_to_train()
    return sorted({rate for rate in rates if rate}) or [1.0]


def _step(optimizer: Optimizer, options: Options) -> None:
    try:
        optimizer.step()
    except Exception as error:
        raise TrainerError(
            f"--optimizer_type {options.optimizer_type}: {type(optimizer).__name__} fails in its first step: {error}"
        ) from error


def _walk(scheduler: LRScheduler, options: Options, *, steps: int) -> None:
    try:
        for _ in range(steps):
            scheduler.step()
    except Exception as error:
        flag = (
            f"--lr_scheduler_type {options.lr_scheduler_type}" if options.lr_scheduler_type else "--lr_scheduler_args"
        )
        raise TrainerError(f"{flag}: the schedule fails within {steps} steps: {error}") from error
