# SPDX-License-Identifier: Apache-2.0
"""How fast a training is: seconds per step, pictures per second, and the share of the GPU's peak (MFU). Pure.

MFU (model FLOPs utilisation, arXiv 2204.02311, appendix B) counts the work that the mathematics needs: the forward
pass, the gradients of activations through the frozen weights, and the LoRA's own gradients. Work that is repeated to
save memory, in checkpointed blocks and in flash attention's backward pass, does not count. A multiplication and an
addition are two FLOPs; norms, activation functions and the optimizer (below 1 %) and text encoders do not count.
"""

from __future__ import annotations

import collections
import statistics
from collections.abc import Callable
from dataclasses import dataclass

TERA = 1e12
# FLOP/s of dense bf16 with sums in fp32, from NVIDIA's data sheets. If a device's name contains several of these
# names, the longest one applies.
PEAKS = {
    "B200": 2250 * TERA,
    "H200": 989 * TERA,
    "H200 NVL": 835 * TERA,
    "H100": 989 * TERA,
    "H100 PCIe": 756 * TERA,
    "H100 NVL": 835 * TERA,
    "A100": 312 * TERA,
    "A40": 150 * TERA,
    "RTX A6000": 155 * TERA,
    "L40S": 362 * TERA,
    "L4": 121 * TERA,
    "RTX 6000 Ada": 364 * TERA,
    "RTX 5090": 209 * TERA,
    "RTX 4090": 165 * TERA,
    "RTX 3090": 71 * TERA,
    "RTX 3090 Ti": 80 * TERA,
}
# Steps that are not measured: they compile, choose kernels and fill the allocators' caches.
WARM_UP_STEPS = 3
# How many of the latest steps the medians cover. A median ignores the few steps that something else slowed down.
STEPS_KEPT = 100


def peak_of(device_name: str) -> float | None:
    """FLOP/s in bf16 of a device, by NVIDIA's name for it; None if unknown."""
    found = [name for name in PEAKS if name in device_name]
    return PEAKS[max(found, key=len)] if found else None


class PictureCost:
    """The FLOPs that MFU counts for one picture. Computed once for each size of latents. `flops`: computes them from
    a number of image tokens, of `latents_per_token` latents each."""

    def __init__(self, flops: Callable[[int], int], *, latents_per_token: int) -> None:
        self._flops, self._latents_per_token = flops, latents_per_token
        self._known: dict[int, int] = {}

    def of(self, height: int, width: int) -> int:
        """Those of latents of this height and width."""
        tokens = height * width // self._latents_per_token
        if tokens not in self._known:
            self._known[tokens] = self._flops(tokens)
        return self._known[tokens]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Medians over the latest steps. `mfu`: from 0 to 1; None if the GPU's peak is unknown."""

    seconds_per_step: float
    images_per_second: float
    mfu: float | None


@dataclass(frozen=True, kw_only=True)
class _Step:
    seconds: float
    images: int
    flops: int


class Speedometer:
    """Measures a run's steps. `peak`: FLOP/s of this process's device; None if unknown."""

    def __init__(self, *, peak: float | None) -> None:
        self._peak = peak
        self._seen = 0
        self._steps: collections.deque[_Step] = collections.deque(maxlen=STEPS_KEPT)

    def add(self, *, seconds: float, images: int, flops: int) -> None:
        """Adds one optimizer step. `images`: those of all processes; `flops`: those of this process's device."""
        self._seen += 1
        if self._seen > WARM_UP_STEPS:
            self._steps.append(_Step(seconds=seconds, images=images, flops=flops))

    @property
    def speed(self) -> Speed | None:
        """The current speed; None until a step after the warm-up."""
        if not self._steps:
            return None
        rate = statistics.median(step.flops / step.seconds for step in self._steps)
        return Speed(
            seconds_per_step=statistics.median(step.seconds for step in self._steps),
            images_per_second=statistics.median(step.images / step.seconds for step in self._steps),
            mfu=rate / self._peak if self._peak else None,
        )


def sentence(speed: Speed, *, peak_memory: int, on_gpu: bool) -> str:
    """A line for people. `peak_memory`: bytes, of the GPU (`on_gpu`) or of the process."""
    share = "" if speed.mfu is None else f", {speed.mfu:.0%} of the GPU's peak (MFU)"
    memory = "GPU memory" if on_gpu else "memory"
    return (
        f"speed: {speed.seconds_per_step:.3f} s per step, {speed.images_per_second:.2f} images/s{share}, "
        f"peak {memory} {peak_memory / 1e9:.1f} GB"
    )
