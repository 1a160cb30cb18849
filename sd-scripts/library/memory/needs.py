# SPDX-License-Identifier: Apache-2.0
"""How many bytes a training needs on disks and in the host's memory, and when too little is refused. Pure.

Only what is certainly needed counts: a training that cannot fit is refused before anything is loaded, one that may
fit is tried. (`footprint` has the GPU's memory.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from library.errors import TrainerError
from library.family.port import Layers
from library.options.network_settings import NetworkSettings

FP32 = 4
BYTES = {"fp16": 2, "bf16": 2, "float": FP32, None: FP32}
# How many numbers an optimizer keeps for each one that it trains. For an optimizer that is not listed, the state on
# disk is counted as empty, and the memory as Adam's.
MOMENTS = {
    "adafactor": 0,
    "adam": 2,
    "adamw": 2,
    # An upper limit: its numbers have 8 bits, unless fused AdamW replaces it.
    "adamw8bit": 2,
    "adamwschedulefree": 2,
    "lion": 1,
    "pagedadamw": 2,
    "pagedadamw32bit": 2,
    "pagedadamw8bit": 2,
    # Two moments, the initial weights, and a sum of its own.
    "prodigy": 4,
    "sgd": 0,
    "sgdnesterov": 1,
}
MOMENTS_OF_ADAM = 2
# Their moments are smaller than fp32, so `lora_and_state` does not count them.
SMALLER_ON_DISK = {"adamw8bit", "pagedadamw8bit"}


def lora_numbers(layers: Layers, settings: NetworkSettings, *, rank: int) -> int:
    """How many numbers a LoRA on these layers has: rank (in + out) for each one that is trained."""
    return sum(settings.rank_of(name, rank) * sum(shape) for name, shape in layers.items())


def copies(optimizer: str, *, average: bool, processes: int) -> int:
    """How many fp32 copies of the LoRA the device holds: the LoRA, its gradient, the optimizer's numbers, a moving
    average, and the buffers in which several processes add up gradients."""
    return 2 + MOMENTS.get(optimizer.lower(), MOMENTS_OF_ADAM) + average + (processes > 1)


def lora_and_state(lora: int, *, optimizer: str, save_precision: str | None) -> int:
    """Bytes of one LoRA and one state, at least. `lora`: how many numbers the LoRA has."""
    name = optimizer.lower()
    moments = 0 if name in SMALLER_ON_DISK else MOMENTS.get(name, 0)
    return lora * (BYTES[save_precision] + (1 + moments) * FP32)


def lora_file(lora: int, *, save_precision: str | None) -> int:
    """Bytes of a LoRA file with `lora` numbers."""
    return lora * BYTES[save_precision]


def state_folder(lora: int, *, optimizer: str, average: bool) -> int:
    """Bytes of one state, at most: an unknown optimizer counts as Adam, and an 8-bit one as the fused AdamW that may
    replace it."""
    return lora * (1 + MOMENTS.get(optimizer.lower(), MOMENTS_OF_ADAM) + average) * FP32


def latents(area: int, *, pixels: int, channels: int, number: int, masked: bool) -> int:
    """Bytes of `number` latents of a picture of `area` pixels, each with one number per channel for a square of
    `pixels` x `pixels`; `masked` adds a mask of `area` pixels."""
    return area // pixels**2 * channels * FP32 * number + area * FP32 * masked


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Bytes for one purpose. `what` and `where` (empty for memory) go into the message."""

    count: int
    what: str
    where: str = ""


def check_disk(demands: Sequence[Demand], *, free: int) -> None:
    """Checks the demands on one disk against its free bytes. Raises TrainerError with the numbers if they do not
    fit."""
    if sum(demand.count for demand in demands) > free:
        parts = " and ".join(f"{_gb(demand.count)} for {demand.what} in {demand.where}" for demand in demands)
        raise TrainerError(
            f"this training needs at least {parts}, but only {_gb(free)} is free there; free some space, use a "
            "smaller --network_dim, or do not cache to the disk"
        )


def check_host(demands: Sequence[Demand], *, free: int) -> None:
    """Checks the demands on the host's memory against its free bytes. Raises TrainerError with the numbers if they do
    not fit."""
    needed = sum(demand.count for demand in demands)
    if needed > free:
        parts = ", ".join(f"{_gb(demand.count)} for {demand.what}" for demand in demands if demand.count)
        raise TrainerError(
            f"this training needs at least {_gb(needed)} of host memory ({parts}), but only {_gb(free)} is "
            "available; close other programs, use --cache_text_encoder_outputs_to_disk and --cache_latents_to_disk, "
            "or use a machine with more memory"
        )


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
