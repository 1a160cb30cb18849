# SPDX-License-Identifier: Apache-2.0
"""Parses the names of a training's LoRAs and samples; our trainer names both as sd-scripts does. Pure.

sd-scripts counts steps from its last resume, so a step in a name that it chose may be too low.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fluxgym.protocol.output_messages import FileKind
from fluxgymd.trainers.port import Output

SAMPLES = "sample"
"""The folder of the samples, below the job's."""
LORA = re.compile(r"(?:-(\d{6})|-step(\d{8}))?(-ema)?\.safetensors")
"""The part after the output name: an epoch, a step, or nothing for the last one; -ema for the moving average."""
SAMPLE = re.compile(r"_(?:e(\d{6,12})|(\d{6,12}))_(\d{2,6})_\d{14}(?:_(\d{1,18}))?\.png")
"""The part after the output name: an epoch or a step, the number of the prompt, a date, and the seed if any."""
CONTACT_SHEET = "-contact-sheet.png"


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was saved."""

    epoch: int | None = None
    step: int | None = None


def moment(epoch: str | None, step: str | None, *, steps_per_epoch: int | None) -> Moment:
    """The moment that a name gives as an epoch or as a step; the other one is computed if possible."""
    if epoch is not None:
        done = int(epoch)
        return Moment(done, done * steps_per_epoch if steps_per_epoch else None)
    if step is not None:
        count = int(step)
        return Moment(-(-count // steps_per_epoch) if steps_per_epoch else None, count)
    return Moment()


def loras(names: Iterable[str], output_name: str, *, steps_per_epoch: int | None, last: Moment) -> Iterator[Output]:
    """The LoRAs among the names in the job's folder. `last`: when those without an epoch or a step were saved."""
    for name in names:
        if name.startswith(output_name) and (found := LORA.fullmatch(name, len(output_name))):
            epoch, step, _ = found.groups()
            saved = moment(epoch, step, steps_per_epoch=steps_per_epoch) if epoch or step else last
            yield Output(name=name, kind=FileKind.LORA, epoch=saved.epoch, step=saved.step)


def samples(names: Iterable[str], output_name: str, *, steps_per_epoch: int | None) -> Iterator[Output]:
    """The samples among the names in their folder, and the contact sheet, which has no prompt."""
    for name in names:
        if name == f"{output_name}{CONTACT_SHEET}":
            yield Output(name=f"{SAMPLES}/{name}", kind=FileKind.SAMPLE)
        elif name.startswith(output_name) and (found := SAMPLE.fullmatch(name, len(output_name))):
            epoch, step, number, seed = found.groups()
            drawn = moment(epoch, step, steps_per_epoch=steps_per_epoch)
            yield Output(
                name=f"{SAMPLES}/{name}",
                kind=FileKind.SAMPLE,
                epoch=drawn.epoch,
                step=drawn.step,
                number=int(number),
                seed=int(seed) if seed is not None else None,
            )
