# SPDX-License-Identifier: Apache-2.0
"""The sizes of the files that a training saves, from the headers of its models. Imports no torch."""

from __future__ import annotations

from library.flux import model_files
from library.flux.model_files import ModelFiles
from library.memory import needs
from library.options.options import Options


def lora_numbers(options: Options, models: ModelFiles) -> tuple[int, int]:
    """How many numbers the LoRAs of (transformer, CLIP-L) have. With --dim_from_weights, the first number counts
    everything in --network_weights."""
    if options.dim_from_weights and models.network_weights is not None:
        return model_files.count(models.network_weights), 0
    settings, rank = options.network, options.network_dim
    of_clip = needs.clip_lora_numbers(models.clip.shapes, settings, rank=rank) if options.trains_clip else 0
    return needs.lora_numbers(models.transformer.shapes, settings, rank=rank), of_clip


def of_run(options: Options, models: ModelFiles) -> tuple[int, int]:
    """Bytes of (one LoRA, one state, at most) that the training writes."""
    numbers = sum(lora_numbers(options, models))
    average = options.ema_decay is not None
    return (
        needs.lora_file(numbers, save_precision=options.save_precision),
        needs.state_folder(numbers, optimizer=options.optimizer_type, average=average),
    )
