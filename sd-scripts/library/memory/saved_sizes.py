# SPDX-License-Identifier: Apache-2.0
"""The sizes of the files that a training saves, from the headers of its models. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

from library.files import safetensors_header
from library.flux import config as flux_config
from library.flux import encoder_config
from library.flux.config import FluxConfig
from library.memory import needs
from library.options.options import Options


def lora_numbers(options: Options, transformer: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """How many numbers the LoRAs of (transformer, CLIP-L) have. `transformer`: its shapes. With --dim_from_weights,
    the first number counts everything in --network_weights."""
    if options.dim_from_weights and options.network_weights:
        saved = safetensors_header.read_shapes(options.network_weights, "--network_weights")
        return sum(map(math.prod, saved.values())), 0
    settings, rank = options.network, options.network_dim
    clip = encoder_config.clip_shapes(options.clip_l)
    of_clip = needs.clip_lora_numbers(clip, settings, rank=rank) if options.trains_clip else 0
    return needs.lora_numbers(transformer, settings, rank=rank), of_clip


def of_run(options: Options, flux: FluxConfig) -> tuple[int, int]:
    """Bytes of (one LoRA, one state, at most) that the training writes."""
    shapes = flux_config.shapes_of(options.pretrained_model_name_or_path, flux)
    numbers = sum(lora_numbers(options, shapes))
    average = options.ema_decay is not None
    return (
        needs.lora_file(numbers, save_precision=options.save_precision),
        needs.state_folder(numbers, optimizer=options.optimizer_type, average=average),
    )
