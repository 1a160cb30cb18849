# SPDX-License-Identifier: Apache-2.0
"""What a step works on: the frozen models, the LoRA on them, and what trains it (optimizer, schedule, average)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from library import findings
from library.cache.caching_phase import Encoded
from library.compute import block_swap
from library.compute.transformer import Transformer
from library.family.models import TrainedEncoder
from library.lora import network
from library.lora.lora import LoRANetwork
from library.optim import optimizer, schedulers
from library.optim.ema import MovingAverage
from library.options.options import Options
from library.output import states
from library.train.preflight import Inputs


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The loaded parts. `encoder`: the text encoder that gets a LoRA; `average` is set only with
    --ema_decay."""

    transformer: Transformer
    encoder: TrainedEncoder | None
    network: LoRANetwork
    optimizer: Optimizer
    scheduler: LRScheduler
    average: MovingAverage | None


def load(options: Options, inputs: Inputs, encoded: Encoded, accelerator: Accelerator, dtype: torch.dtype) -> Parts:
    """Loads the frozen transformer and builds the LoRA and what trains it, with the contents of the state if there is
    one."""
    number, stacks = inputs.choices.blocks_to_swap, inputs.models.transformer_size.stacks
    transformer = inputs.models.load_transformer(
        dtype=dtype,
        device=accelerator.device,
        base=inputs.choices.base,
        stays=block_swap.stays(stacks, blocks_to_swap=number, device=accelerator.device),
    )
    transformer.checkpointed_blocks = inputs.choices.checkpointed_blocks
    transformer.inputs_on_host = options.cpu_offload_checkpointing
    block_swap.install(transformer, blocks_to_swap=number, device=accelerator.device)
    clip = encoded.trained.module if encoded.trained else None
    lora = network.build(options, transformer=transformer, clip=clip, seed=inputs.seed).to(accelerator.device)
    with findings.quiet():  # the preflight has given these warnings already
        built = optimizer.build(lora, options, on_gpu=accelerator.device.type == "cuda")
        scheduler = schedulers.build(built, options, total_steps=inputs.plan.total_steps)
    average = MovingAverage(lora, decay=options.ema_decay) if options.ema_decay is not None else None
    if inputs.state and inputs.progress:
        print(f"resuming from {inputs.state} at step {inputs.first_step}", flush=True)
        with findings.quiet():
            states.load(
                inputs.state,
                network=lora,
                optimizer=built,
                scheduler=scheduler,
                average=average,
                progress=inputs.progress,
            )
        optimizer.begin(built)
    return Parts(
        transformer=transformer,
        encoder=encoded.trained,
        network=lora,
        optimizer=built,
        scheduler=scheduler,
        average=average,
    )
