# SPDX-License-Identifier: Apache-2.0
"""sd-scripts' names of files and folders, and which of them --save_last_n_* makes outdated. All pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from library.options.options import Options

# Base names without --output_name.
EPOCH_NAME, STEP_NAME, LAST_NAME = "epoch", "at", "last"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When something is saved: after an epoch, after a step, or (both None) at the end."""

    epoch: int | None = None
    step: int | None = None


def stem(options: Options, moment: Moment) -> str:
    """NAME-000004 after an epoch, NAME-step00000150 after a step, NAME at the end."""
    if moment.epoch is not None:
        return f"{options.output_name or EPOCH_NAME}-{moment.epoch:06d}"
    if moment.step is not None:
        return f"{options.output_name or STEP_NAME}-step{moment.step:08d}"
    return options.output_name or LAST_NAME


def lora_name(options: Options, moment: Moment) -> str:
    return f"{stem(options, moment)}.safetensors"


def average_name(options: Options, moment: Moment) -> str:
    """The name of the moving average that is saved beside a LoRA."""
    return f"{stem(options, moment)}-ema.safetensors"


def state_name(options: Options, moment: Moment) -> str:
    return f"{stem(options, moment)}-state"


def outdated(options: Options, moment: Moment, *, state: bool) -> Moment | None:
    """The save that the one at `moment` makes outdated, by --save_last_n_*; None if all are kept.

    Epochs: the one `every * n` epochs earlier. Steps: n counts steps, not saves (with --save_every_n_steps 5 and
    --save_last_n_steps 5, the save at 20 keeps 15 and removes 10).
    """
    if moment.epoch is not None and options.save_every_n_epochs:
        keep = (options.save_last_n_epochs_state if state else None) or options.save_last_n_epochs
        if keep:
            epoch = moment.epoch - options.save_every_n_epochs * keep
            return Moment(epoch=epoch) if epoch > 0 else None
    if moment.step is not None and options.save_every_n_steps:
        keep = (options.save_last_n_steps_state if state else None) or options.save_last_n_steps
        if keep:
            step = moment.step - keep - 1
            step -= step % options.save_every_n_steps
            return Moment(step=step) if step > 0 else None
    return None


def sample_name(options: Options, *, epoch: int | None, step: int, index: int, date: str, seed: int | None) -> str:
    """NAME_e000004_00_20261123131507.png after an epoch (0: before the first), NAME_000150_00_... after a step.

    If the prompt has a seed, the name ends in it: ..._42.png.
    """
    base = f"{options.output_name}_" if options.output_name else ""
    when = f"e{epoch:06d}" if epoch is not None else f"{step:06d}"
    return f"{base}{when}_{index:02d}_{date}{f'_{seed}' if seed is not None else ''}.png"


@dataclass(frozen=True, kw_only=True)
class SampleName:
    """The parts of a sample's name: after which epoch or step, of which prompt (from 0), and when it was made."""

    epoch: int | None
    step: int | None
    index: int
    date: str


def read_sample_name(options: Options, name: str) -> SampleName | None:
    """The inverse of `sample_name`; None if the name is not that of a sample of this training."""
    base = re.escape(f"{options.output_name}_") if options.output_name else ""
    found = re.fullmatch(base + r"(?:e(\d{6,})|(\d{6,}))_(\d{2,})_(\d{14})(?:_\d+)?\.png", name)
    if found is None:
        return None
    epoch, step, index, date = found.groups()
    return SampleName(
        epoch=int(epoch) if epoch else None, step=int(step) if step else None, index=int(index), date=date
    )


def contact_sheet_name(options: Options) -> str:
    """NAME-contact-sheet.png. It has no date at its end, so `read_sample_name` does not take it for a sample."""
    return f"{options.output_name}-contact-sheet.png" if options.output_name else "contact-sheet.png"
