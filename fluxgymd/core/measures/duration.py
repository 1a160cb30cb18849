# SPDX-License-Identifier: Apache-2.0
"""How long a training will take, from what other trainings took on this machine: a pure function.

A training compares with one of the same shape: equal in everything that the time of a step depends on, on a GPU of
the same name. Without one, the times of other shapes on such a GPU are scaled by the pixels of a step, which gives a
rough guess. Without those, nothing is said.
"""

import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from fluxgym.protocol.messages import Context, Model
from fluxgym.protocol.plan_messages import PlannedTime

NEUTRAL_FIELDS = (
    *("name", "dataset", "parts", "trigger_word", "trigger_place", "repeats", "epochs", "save_every_epochs", "seed"),
    *("sample_every_steps", "sample_every_epochs", "sample_prompts", "learning_rate", "priority", "held", "after"),
    *("gpus", "restart", "keep_states", "watchdog", "watchdog_limits", "resume_from"),
)
"""The fields of a job that the time of a step does not depend on, or next to nothing."""
NEUTRAL_OPTIONS = re.compile(
    r"(save|sample|log|logging|metadata|training|lr|caption|validat|caching|network_alpha|seed|max_grad_norm|vae)_?.*"
)
"""The same for options of the trainer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What the time of a step depends on."""

    gpu: str
    """The name of the GPU; empty for a CPU."""
    base: str
    """The transformer's file."""
    gpu_count: int
    settings: bytes
    """All other settings that matter, encoded."""
    pixels: float
    """Pixels of a step, on all GPUs together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A training that ran on this machine."""

    shape: Shape
    seconds_per_step: float


def shape_of(context: Context, *, gpu: str) -> Shape:
    """The shape of a training with complete settings on this kind of GPU."""
    options = context.trainer_options or {}
    relevant = {name: words for name, words in sorted(options.items()) if not NEUTRAL_OPTIONS.fullmatch(name)}
    changed = {name: None for name in NEUTRAL_FIELDS if name in Context.__struct_fields__}
    settings = msgspec.structs.replace(context, **{**changed, "name": "", "trainer_options": relevant})
    batch = _count(options, "train_batch_size") * _count(options, "gradient_accumulation_steps")
    count = context.gpu_count or 1
    return Shape(
        gpu=gpu,
        base=str((context.model or Model()).transformer),
        gpu_count=count,
        settings=msgspec.json.encode(settings),
        pixels=float(_area(context) * batch * count),
    )


def estimate(shape: Shape, runs: Iterable[Run], *, steps: int) -> PlannedTime | None:
    """The time of `steps` steps; None if nothing comparable has run."""
    found = list(runs)
    same = [run.seconds_per_step for run in found if run.shape == shape]
    alike = [
        run.seconds_per_step * shape.pixels / run.shape.pixels
        for run in found
        if (run.shape.gpu, run.shape.base, run.shape.gpu_count) == (shape.gpu, shape.base, shape.gpu_count)
    ]
    times = same or alike
    if not times:
        return None
    median = statistics.median(times)
    return PlannedTime(
        seconds_per_step=median,
        lowest=min(times),
        highest=max(times),
        jobs=len(times),
        rough=not same,
        seconds=median * steps,
    )


def _count(options: dict[str, list[str]], name: str) -> int:
    """The value of a flag that counts; 1 if it is absent or no count, which the trainer refuses."""
    words = options.get(name) or ["1"]
    return max(1, int(words[0])) if words[0].isdecimal() else 1


def _area(context: Context) -> float:
    """Pixels of a picture, on average over the resolutions."""
    sides = context.resolutions or [context.resolution or 1]
    return sum(side**2 for side in sides) / len(sides)
