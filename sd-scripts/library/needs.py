# SPDX-License-Identifier: Apache-2.0
"""The least memory and disk that a training needs, from the model's header and the command line. Pure.

Each figure is a lower bound: what surely does not fit is refused before anything is loaded, what may fit is tried.
Activations are counted only where every block is checkpointed (one input a block); what a block needs while it is
computed, the encoders and the allocator come on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from library.errors import TrainerError
from library.flux_model import FluxConfig
from library.network_settings import IN_LAYERS, NetworkSettings

FP32 = 4
BYTES = {"no": FP32, "bf16": 2, "fp16": 2, "float": FP32, None: FP32}
# Numbers that an optimizer keeps for each that it trains. Those not named here are taken to keep none.
MOMENTS = {"adamw": 2, "adam": 2, "adamwschedulefree": 2, "prodigy": 2, "lion": 1}
TRAINED = ("double_blocks", "single_blocks", *IN_LAYERS)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """In bytes. `device`: weights, LoRA, gradients, optimizer and saved activations, all at once. `disk`: one LoRA
    and one state, which every stop saves."""

    device: int
    disk: int


@dataclass(frozen=True, kw_only=True)
class Room:
    """In bytes. `device` is all of the device's memory; None where it is not known."""

    device: int | None
    disk: int


def lora_numbers(shapes: Mapping[str, tuple[int, ...]], settings: NetworkSettings, *, rank: int) -> int:
    """How many numbers the transformer's LoRA has: rank (in + out) for each matrix that is trained."""
    total = 0
    for key, shape in shapes.items():
        if key.partition(".")[0] in TRAINED and key.endswith(".weight") and len(shape) == 2:
            name = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
            total += settings.rank_of(name, rank) * sum(shape)
    return total


def of_training(
    config: FluxConfig,
    *,
    frozen: int,
    lora: int,
    optimizer: str,
    mixed_precision: str,
    save_precision: str | None,
    checkpointing: bool,
    tokens: int,
) -> Needs:
    """`frozen` and `lora`: numbers in the transformer and in its LoRA; `tokens`: of the largest batch, text too."""
    width = BYTES[mixed_precision]
    moments = MOMENTS.get(optimizer.lower(), 0)
    inputs = tokens * config.hidden * (config.double_blocks + config.single_blocks) if checkpointing else 0
    return Needs(
        device=(frozen + inputs) * width + lora * (2 + moments) * FP32,
        disk=lora * (BYTES[save_precision] + (1 + moments) * FP32),
    )


def check(needs: Needs, room: Room, *, output_dir: object) -> None:
    """Raises TrainerError with the numbers for what cannot fit."""
    if room.device is not None and needs.device > room.device:
        raise TrainerError(
            f"this training needs at least {_gb(needs.device)} of GPU memory, and the GPU has {_gb(room.device)}; "
            "use --mixed_precision bf16, --gradient_checkpointing, a smaller --network_dim, or a larger GPU"
        )
    if needs.disk > room.disk:
        raise TrainerError(
            f"--output_dir {output_dir}: one LoRA and one state take at least {_gb(needs.disk)}, and "
            f"{_gb(room.disk)} are free there; free some space, or use a smaller --network_dim"
        )


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
