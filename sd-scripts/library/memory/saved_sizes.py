# SPDX-License-Identifier: Apache-2.0
"""The sizes of the files that a training saves, from the headers of its models. Imports no torch."""

from __future__ import annotations

import math

from library.family.port import BaseModel
from library.memory import needs
from library.options.options import Options


def lora_numbers(options: Options, base: BaseModel) -> tuple[int, int]:
    """How many numbers the LoRAs of (transformer, text encoder) have. With --dim_from_weights, the first number
    counts everything in --network_weights."""
    if options.dim_from_weights and base.network_weights is not None:
        return sum(map(math.prod, base.network_weights.values())), 0
    settings, rank = options.network, options.network_dim
    transformer, encoder = base.layers()
    of_encoder = needs.lora_numbers(encoder, settings, rank=rank) if options.trains_clip else 0
    return needs.lora_numbers(transformer, settings, rank=rank), of_encoder


def of_run(options: Options, base: BaseModel) -> tuple[int, int]:
    """Bytes of (one LoRA, one state, at most) that the training writes."""
    numbers = sum(lora_numbers(options, base))
    average = options.ema_decay is not None
    return (
        needs.lora_file(numbers, save_precision=options.save_precision),
        needs.state_folder(numbers, optimizer=options.optimizer_type, average=average),
    )
