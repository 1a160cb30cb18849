# SPDX-License-Identifier: Apache-2.0
"""Decides whether optimizer and schedule must be tried (`rehearsal`) to know that they work. Imports no torch."""

from __future__ import annotations

from library.options.options import Options

FLAGS = frozenset(
    {
        *("optimizer_type", "optimizer_args"),
        *("lr_scheduler", "lr_scheduler_type", "lr_scheduler_args", "lr_warmup_steps", "lr_decay_steps"),
        *("lr_scheduler_num_cycles", "lr_scheduler_power", "lr_scheduler_timescale", "lr_scheduler_min_lr_ratio"),
    }
)
"""The flags that decide whether optimizer and schedule work."""
TRIED = ("optimizer_args", "lr_scheduler_args", "lr_scheduler_type")
KNOWN_OPTIMIZER = "adamw"
# These schedules accept every value of their flags.
KNOWN_SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts")


def is_needed(options: Options) -> bool:
    """Whether a trial is needed: torch's AdamW with one of the known schedules always works, unless a learning rate
    is 0, since the trial also finds out whether anything is left to train."""
    rates = (options.learning_rate, options.unet_lr, *(options.text_encoder_lr or ()))
    return (
        options.optimizer_type.lower() != KNOWN_OPTIMIZER
        or options.lr_scheduler not in KNOWN_SCHEDULES
        or any(getattr(options, name) for name in TRIED)
        or 0 in rates
    )
