# SPDX-License-Identifier: Apache-2.0
"""AdamW over the LoRA's parameters and the constant schedule."""

from __future__ import annotations

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from library.errors import TrainerError
from library.lora import CLIP_PREFIX, TRANSFORMER_PREFIX, LoRANetwork
from library.options import Options


def build(network: LoRANetwork, options: Options) -> tuple[Optimizer, LambdaLR]:
    """The optimizer, with a group for CLIP-L before the transformer's as in sd-scripts, and its schedule.

    Raises TrainerError for arguments that AdamW refuses.
    """
    rates = {
        CLIP_PREFIX: _first(options.text_encoder_lr, options.learning_rate),
        TRANSFORMER_PREFIX: _first(options.unet_lr, options.learning_rate),
    }
    groups = [{"params": network.parameters_of(prefix), "lr": rate} for prefix, rate in rates.items()]
    groups = [group for group in groups if group["params"]]
    try:
        optimizer = torch.optim.AdamW(groups, fused=True, **dict(options.optimizer_args or []))
    except (ValueError, TypeError) as error:
        raise TrainerError(f"--optimizer_args: AdamW refuses them: {error}") from error
    return optimizer, LambdaLR(optimizer, lambda _step: 1.0)


def _first(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def learning_rate(optimizer: Optimizer) -> float:
    """The transformer's rate, which is the last group's."""
    return float(optimizer.param_groups[-1]["lr"])
