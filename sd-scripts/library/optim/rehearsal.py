# SPDX-License-Identifier: Apache-2.0
"""Tries the optimizer and its schedule on four numbers before anything is loaded or cached.

Both may be any class with any arguments, and an error may show only when the object is built or makes a step. With a
real dataset, that would be hours later.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from library.errors import TrainerError
from library.findings import warn
from library.optim import optimizer as optimizers
from library.optim import schedulers
from library.options.options import Options
from library.options.trained_layers import CLIP_PREFIX, TRANSFORMER_PREFIX

# How many steps of a schedule are tried at most, which takes a second or two.
MOST_STEPS = 100_000


def rehearse(options: Options, *, total_steps: int, on_gpu: bool) -> None:
    """Raises TrainerError for an optimizer or a schedule that cannot be built, or that fails in its first step.

    A schedule given by --lr_scheduler_type makes all steps of the training (up to MOST_STEPS), since some schedules
    end earlier. The four numbers are in host memory, so if the training runs on a GPU, an optimizer that may need one
    makes no step here.
    """
    if on_gpu and not torch.cuda.is_available() and optimizers.is_foreign(options.optimizer_type):
        # The GPU is hidden from this process, and building the class may need it.
        optimizers.find_class(options)
        return
    parameters = {rate: nn.Parameter(torch.ones(2, 2)) for rate in _rates(options)}
    groups = [{"params": [parameter], "lr": rate} for rate, parameter in parameters.items()]
    sentences: list[str] = []
    optimizer = optimizers.of_groups(groups, options, on_gpu=on_gpu, warn=sentences.append)
    scheduler = schedulers.build(optimizer, options, total_steps=total_steps)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    if not (on_gpu and optimizers.may_need_gpu(options.optimizer_type, on_gpu=True)):
        _step(optimizer, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns if the schedule makes a step and the optimizer made none
        _walk(scheduler, options, steps=min(total_steps, MOST_STEPS) if options.lr_scheduler_type else 1)
    for sentence in sentences:
        warn(sentence)


def _rates(options: Options) -> list[float]:
    """The different learning rates of the transformer, of CLIP-L (if trained) and of LoRA+, since some optimizers
    accept only one.

    Raises TrainerError if nothing would be trained. The rates of patterns are not among them, since they depend on
    the names of the layers.
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
