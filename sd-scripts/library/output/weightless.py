# SPDX-License-Identifier: Apache-2.0
"""The trained half of a run (LoRA, optimizer, schedule) with shapes but no weights. Saved weights and states are
compared with it before anything is loaded.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from library import findings
from library.family.port import BaseModel
from library.lora import network
from library.lora.lora import LoRANetwork
from library.optim import optimizer, schedulers
from library.options.options import Options


def build_network(options: Options, base: BaseModel) -> LoRANetwork:
    """The LoRA, without weights. Raises TrainerError if no layer is left to train, or if --network_weights do not
    fit."""
    clip = base.encoder_on_meta() if options.trains_clip else None
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        return network.build(options, transformer=base.transformer_on_meta(), clip=clip, seed=None)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a state must fit."""

    network: LoRANetwork
    optimizer: Optimizer
    scheduler: LRScheduler


def needs_gpu(options: Options) -> bool:
    """Whether the optimizer may need a GPU to be built while this process sees none, since all GPUs are hidden."""
    return not torch.cuda.is_available() and optimizer.is_foreign(options.optimizer_type)


def build(options: Options, made: LoRANetwork, *, total_steps: int, on_gpu: bool) -> Trained:
    """The network with its optimizer and schedule. Raises TrainerError as `optimizer.build` and `schedulers.build`
    do."""
    with findings.quiet():  # the rehearsal has given these warnings already
        built = optimizer.build(made, options, on_gpu=on_gpu)
        scheduler = schedulers.build(built, options, total_steps=total_steps)
    return Trained(network=made, optimizer=built, scheduler=scheduler)
